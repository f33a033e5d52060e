import { withDeadline } from "../base/deadline.ts";
import { DEADLINES } from "../config/defaults.ts";
import type { StateLock } from "../contracts/state-store.ts";
import type { EngineContext, SandboxContext } from "../engine/context.ts";

/** Runs one operation on a sandbox while no other does, in this process or another. */
export function exclusively<T>(sb: SandboxContext, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
  return sb.mutex.run(() => locked(sb.engine, sb.id, signal, work), signal);
}

/** Runs work on a sandbox's record while no other process does; what was read of it before may be out of date. Waits 30 s for the lock. */
export async function locked<T>(engine: EngineContext, id: string, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
  const lock = await withDeadline({ what: `the lock of sandbox "${id}"`, timeoutMs: DEADLINES.lock, signal }, (inner) =>
    takeLock(engine, id, inner),
  );
  try {
    return await work();
  } finally {
    await lock.release();
  }
}

/** A lock that is granted when nobody waits for it any more is given back, or nobody would ever get it again. */
async function takeLock({ store, log }: EngineContext, id: string, signal: AbortSignal): Promise<StateLock> {
  const lock = await store.lock(id, { signal, log });
  if (signal.aborted) await lock.release();
  return lock;
}
