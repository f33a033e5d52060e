import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { withDeadline } from "tapvisor/plugin";
import { watchUntil } from "../watch-until.ts";

/** How long processes may take to stop or to go on, ms: only one that waits for a device that does not answer takes long. */
const FREEZE_MS = 5000;

/**
 * Stops every process of a cgroup and of those below it, and resolves when none of them runs any more. After a failure they go on.
 * @throws TIMEOUT after 5 s.
 */
export async function freezeCgroup(directory: string, signal: AbortSignal): Promise<void> {
  try {
    await change(directory, "1", signal);
  } catch (error) {
    await request(directory, "0").catch(() => {});
    throw error;
  }
}

/** @throws TIMEOUT after 5 s. */
export function thawCgroup(directory: string, signal: AbortSignal): Promise<void> {
  return change(directory, "0", signal);
}

/** Whether a cgroup stands still, by itself or by one above it. */
export function isFrozen(directory: string): Promise<boolean> {
  return is(directory, "1");
}

async function is(directory: string, frozen: "0" | "1"): Promise<boolean> {
  return (await readFile(join(directory, "cgroup.events"), "utf8")).includes(`frozen ${frozen}`);
}

function change(directory: string, frozen: "0" | "1", signal: AbortSignal): Promise<void> {
  const what = `the processes in ${directory} to ${frozen === "1" ? "stop" : "go on"}`;
  return withDeadline({ what, timeoutMs: FREEZE_MS, signal }, async (ended) => {
    let asked = false;
    const look = async () => {
      if (!asked) await request(directory, frozen);
      asked = true;
      return (await is(directory, frozen)) || undefined;
    };
    await watchUntil(join(directory, "cgroup.events"), look, ended);
  });
}

function request(directory: string, frozen: "0" | "1"): Promise<void> {
  return writeFile(join(directory, "cgroup.freeze"), frozen);
}
