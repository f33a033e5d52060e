import { withDeadline } from "../base/deadline.ts";
import { DEADLINES } from "../config/defaults.ts";

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
const closers = new Set<() => Promise<void>>();
const firsts = new Set<() => Promise<void>>();
let ending = false;

/**
 * Closes an engine when a signal ends the script: Node would end without running what `await using` promised. All engines together get 20 s;
 * a second signal ends at once. Gives a function that takes the guard away.
 */
export function guardExit(close: () => Promise<void>): () => void {
  if (closers.size === 0) for (const signal of SIGNALS) process.on(signal, onSignal);
  closers.add(close);
  return () => {
    closers.delete(close);
    if (closers.size === 0 && !ending) for (const signal of SIGNALS) process.off(signal, onSignal);
  };
}

/** Does something before a signal closes the engines: what needs them still. Gives a function that takes it away. */
export function beforeSignalledExit(work: () => Promise<void>): () => void {
  firsts.add(work);
  return () => firsts.delete(work);
}

/** Closes every engine of this process, for a script that ends by an error nobody caught; they get 20 s together. */
export async function closeGuarded(): Promise<void> {
  const closing = Promise.allSettled([...closers].map((close) => close()));
  await withDeadline({ what: "the engines to close", timeoutMs: DEADLINES.shutdown }, () => closing).catch(() => {});
}

function onSignal(signal: NodeJS.Signals): void {
  if (ending) {
    endBy(signal);
    return;
  }
  ending = true;
  const deadline = setTimeout(() => endBy(signal), DEADLINES.shutdown);
  void Promise.allSettled([...firsts].map((work) => work()))
    .then(() => Promise.allSettled([...closers].map((close) => close())))
    .then(() => {
      clearTimeout(deadline);
      endBy(signal);
    });
}

/** Ends as the signal would have ended the script, so that its parent sees the truth; a script that listens itself decides itself. */
function endBy(signal: NodeJS.Signals): void {
  for (const each of SIGNALS) process.off(each, onSignal);
  if (process.listenerCount(signal) === 0) process.kill(process.pid, signal);
}
