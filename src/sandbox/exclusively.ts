import { withDeadline } from "../base/deadline.ts";
import { DEADLINES } from "../config/defaults.ts";
import type { StateLock } from "../contracts/state-store.ts";
import type { SandboxContext } from "../engine/context.ts";

/** Runs one operation on a sandbox while no other does, in this process or another. */
export function exclusively<T>(sb: SandboxContext, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
  return sb.mutex.run(async () => {
    const wait = { what: `the lock of sandbox "${sb.id}"`, timeoutMs: DEADLINES.lock, signal };
    const lock = await withDeadline(wait, (inner) => takeLock(sb, inner));
    try {
      return await work();
    } finally {
      await lock.release();
    }
  }, signal);
}

/** A lock that is granted when nobody waits for it any more is given back, or nobody would ever get it again. */
async function takeLock(sb: SandboxContext, signal: AbortSignal): Promise<StateLock> {
  const lock = await sb.engine.store.lock(sb.id, { signal, log: sb.log });
  if (signal.aborted) await lock.release();
  return lock;
}
