import { type Stats, statSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";

/** The runtime's child has told all it will; only the kernel can be slower than this, and then the process counts as started. */
const LIMIT_MS = 2000;

/** Between two looks, ms: at first, and at most. Many starts at once take so long because of each other, and looking must not add to that. */
const FIRST_LOOK_MS = 2;
const LAST_LOOK_MS = 64;

/**
 * Resolves with true when the process `pid` no longer runs the runtime's own program but the user's, with false when it ended before that was seen.
 * It only looks: should the number be another's by then, an end is reported as a start and an end.
 */
export async function awaitExec(pid: number, runtimeProgram: string, ended: () => boolean): Promise<boolean> {
  const runtime = statSync(runtimeProgram);
  const deadline = performance.now() + LIMIT_MS;
  for (let wait = FIRST_LOOK_MS; !ended(); wait = Math.min(wait * 2, LAST_LOOK_MS)) {
    const running = programOf(pid);
    if (running && (running.ino !== runtime.ino || running.dev !== runtime.dev)) return true;
    if (performance.now() > deadline) return true;
    // Linux tells nobody without privileges and a netlink socket about an execve, and Node has none; the first look nearly always succeeds.
    await delay(wait);
  }
  return false;
}

/** `undefined` for a process that has ended; one that ends at this moment shows as ESRCH, or as EACCES once its memory is gone. */
function programOf(pid: number): Stats | undefined {
  try {
    return statSync(`/proc/${pid}/exe`);
  } catch {
    return undefined;
  }
}
