import { mkdir, readdir, readFile, rmdir, writeFile } from "node:fs/promises";
import { join } from "node:path";

/**
 * Makes a cgroup below `root`, each one on the way with every controller that the root passes on: counters start with the cgroup, and limits can be set
 * on those below it. The cgroup itself can hold no process then.
 */
export async function makeCgroup(root: string, path: string): Promise<void> {
  const controllers = (await ignoreMissing(readFile(join(root, "cgroup.subtree_control"), "utf8")))?.split(/\s+/).filter(Boolean) ?? [];
  let directory = root;
  for (const name of path.split("/").filter(Boolean)) {
    directory = join(directory, name);
    const isNew = (await mkdir(directory, { recursive: true })) !== undefined;
    if (isNew && controllers.length > 0) await passOn(controllers, directory);
  }
}

async function passOn(controllers: readonly string[], directory: string): Promise<void> {
  const all = controllers.map((controller) => `+${controller}`).join(" ");
  await writeFile(join(directory, "cgroup.subtree_control"), all).catch(async (error) => {
    await rmdir(directory); // else the next one would take it for one that has them
    throw error;
  });
}

/** Kills every process of a cgroup and of those below it at once: the kernel does it, so no pid is involved. A cgroup that is not there is empty. */
export async function killCgroup(directory: string): Promise<void> {
  await ignoreMissing(writeFile(join(directory, "cgroup.kill"), "1", { flag: "r+" }));
}

/** Signals every process of a cgroup and of those below it. */
export async function signalCgroup(directory: string, signal: number): Promise<void> {
  for (const each of await withChildren(directory)) {
    // In the same turn as the read: the kernel hands numbers out in a circle, so one that was a member's an instant ago is nobody else's yet.
    for (const pid of await pidsIn(each)) signalIfThere(pid, signal);
  }
}

/** The processes of a cgroup and of those below it, as the guest counts them. */
export async function pidsOfCgroup(directory: string): Promise<readonly number[]> {
  const pids: number[] = [];
  for (const each of await withChildren(directory)) pids.push(...(await pidsIn(each)));
  return pids;
}

async function pidsIn(directory: string): Promise<readonly number[]> {
  const pids = await ignoreMissing(readFile(join(directory, "cgroup.procs"), "utf8"));
  return (pids ?? "")
    .split("\n")
    .map(Number)
    .filter((pid) => pid > 1); // 0 is a process of a namespace above this one
}

/** Removes a cgroup that has no processes any more, with those below it. */
export async function removeCgroup(directory: string): Promise<void> {
  for (const each of (await withChildren(directory)).reverse()) await ignoreMissing(rmdir(each));
}

/** A directory comes before those in it. */
async function withChildren(directory: string): Promise<string[]> {
  const entries = (await ignoreMissing(readdir(directory, { withFileTypes: true }))) ?? [];
  const below = await Promise.all(entries.filter((entry) => entry.isDirectory()).map((entry) => withChildren(join(directory, entry.name))));
  return [directory, ...below.flat()];
}

function signalIfThere(pid: number, signal: number): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

async function ignoreMissing<T>(work: Promise<T>): Promise<T | undefined> {
  return work.catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT" || error.code === "ENODEV") return undefined;
    throw error;
  });
}
