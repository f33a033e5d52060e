import { TapvisorError } from "./errors.ts";

export interface Wait {
  /** What is waited for, as it stands in the error: "the agent of sandbox web". */
  readonly what: string;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Runs `work` under a deadline and the caller's signal; `work` gets one signal that fires for either.
 * The wait ends at the deadline even when `work` ignores the signal.
 *
 * @throws TIMEOUT at the deadline, ABORTED (with the signal's reason as cause) when the caller gives up.
 */
export async function withDeadline<T>(wait: Wait, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  throwIfAborted(wait.signal, wait.what);
  const control = new AbortController();
  let onAbort: (() => void) | undefined;
  let timer: NodeJS.Timeout | undefined;
  const ended = new Promise<never>((_, reject) => {
    const stop = (error: TapvisorError) => {
      reject(error);
      control.abort(error);
    };
    onAbort = () => stop(aborted(wait.what, wait.signal?.reason));
    wait.signal?.addEventListener("abort", onAbort, { once: true });
    timer = setTimeout(() => stop(timedOut(wait)), wait.timeoutMs);
  });
  try {
    const running = work(control.signal);
    running.catch(() => {}); // its late failure has no listener once the deadline has won
    return await Promise.race([running, ended]);
  } finally {
    clearTimeout(timer);
    if (onAbort) wait.signal?.removeEventListener("abort", onAbort);
  }
}

/** Resolves when the signal fires; for code that waits for one of several events. */
export function onceAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

/** @throws ABORTED when the signal has fired. */
export function throwIfAborted(signal: AbortSignal | undefined, what: string): void {
  if (signal?.aborted) throw aborted(what, signal.reason);
}

function aborted(what: string, reason: unknown): TapvisorError {
  return new TapvisorError("ABORTED", `Cannot finish ${what}: the caller gave up`, { data: { what }, cause: reason });
}

function timedOut(wait: Wait): TapvisorError {
  return new TapvisorError("TIMEOUT", `Timed out waiting for ${wait.what}: no answer within ${wait.timeoutMs} ms`, {
    data: { what: wait.what, timeoutMs: wait.timeoutMs },
  });
}
