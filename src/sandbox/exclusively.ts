import { withDeadline } from "../base/deadline.ts";
import { DEADLINES } from "../config/defaults.ts";
import type { SandboxContext } from "../engine/context.ts";

/** Runs one operation on a sandbox while no other does, in this process or another. */
export function exclusively<T>(sb: SandboxContext, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
  return sb.mutex.run(async () => {
    const wait = { what: `the lock of sandbox "${sb.id}"`, timeoutMs: DEADLINES.lock, signal };
    const lock = await withDeadline(wait, (inner) => sb.engine.store.lock(sb.id, { signal: inner, log: sb.log }));
    try {
      return await work();
    } finally {
      await lock.release();
    }
  }, signal);
}
