import { access, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { StatusError } from "../status.ts";
import type { CgroupFile } from "./limits.ts";
import { setMemoryMax } from "./memory-max.ts";

/**
 * Writes limits into a running container's cgroup: all of them, or those that were there before. A cgroup that is not there, because its processes
 * have ended, needs none. `memory.max` must come last: it is the one that could not always be taken back.
 * @throws INVALID_ARGUMENT when the kernel refuses a value, FAILED_PRECONDITION when more memory is in use than the limit lets it be.
 */
export async function applyLimits(directory: string, files: readonly CgroupFile[], signal: AbortSignal): Promise<void> {
  const before: CgroupFile[] = [];
  try {
    for (const file of files) {
      signal.throwIfAborted();
      before.unshift(await set(directory, file, signal));
    }
  } catch (error) {
    if (!(await exists(directory))) return;
    for (const { name, value } of before) await write(join(directory, name), value);
    throw error;
  }
}

/** Answers what was there. */
async function set(directory: string, { name, value }: CgroupFile, signal: AbortSignal): Promise<CgroupFile> {
  const path = join(directory, name);
  try {
    const before = (await readFile(path, "utf8")).trim();
    if (name === "memory.max") await setMemoryMax(directory, value, before, signal);
    else await write(path, value);
    return { name, value: before };
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") throw new StatusError("FAILED_PRECONDITION", `Cannot set ${name}: this guest's kernel has no such limit`);
    if (code !== "EINVAL" && code !== "ERANGE") throw error;
    throw new StatusError("INVALID_ARGUMENT", `Cannot set ${name} to ${JSON.stringify(value)}: the kernel refuses it (${code})`);
  }
}

/** What was never set is empty, and the kernel wants a line all the same. */
function write(path: string, value: string): Promise<void> {
  return writeFile(path, `${value}\n`);
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
