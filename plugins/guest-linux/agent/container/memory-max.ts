import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { formatBytes } from "tapvisor/plugin";
import { StatusError } from "../status.ts";
import { freezeCgroup, isFrozen, thawCgroup } from "./freeze.ts";

/**
 * Sets the most memory a cgroup may use. The kernel kills to get below a new limit, so what is in use is looked at before: the processes stand still
 * meanwhile, and `memory.high` has the kernel take back what it can without killing.
 * @throws FAILED_PRECONDITION when they use more than that, and TIMEOUT when they cannot be stopped; nothing has changed then.
 */
export async function setMemoryMax(directory: string, value: string, before: string, signal: AbortSignal): Promise<void> {
  const [high, max] = [join(directory, "memory.high"), join(directory, "memory.max")];
  if (bytesOf(value) >= bytesOf(before)) return writeFile(max, value);
  const highBefore = await readFile(high, "utf8");
  const paused = await isFrozen(directory);
  if (!paused) await freezeCgroup(directory, signal);
  try {
    await writeFile(high, value);
    const used = Number(await readFile(join(directory, "memory.current"), "utf8"));
    if (used > Number(await readFile(high, "utf8"))) {
      const why = `its processes use ${formatBytes(used)} that cannot be taken back`;
      throw new StatusError("FAILED_PRECONDITION", `Cannot limit the memory to ${formatBytes(Number(value))}: ${why}`);
    }
    await writeFile(max, value);
  } finally {
    await writeFile(high, highBefore);
    if (!paused) await thawCgroup(directory, new AbortController().signal); // also when nobody waits any more
  }
}

function bytesOf(value: string): number {
  return value === "max" ? Number.POSITIVE_INFINITY : Number(value);
}
