import { randomBytes } from "node:crypto";
import { mkdir, readdir, readFile, rm, rmdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { currentBootId, errnoOf, isAlive, ownIdentity, type VmIntent } from "tapvisor/plugin";

/**
 * Below the state directory: `warm/<pid>-<start time>-<boot>-<pool>/<vm>` is the run directory of a pool's VM, and the file `<vm>.json` beside it the intent of
 * that VM, written before it is started. The name tells whether whoever made it lives.
 */
const OWNER = /^(\d+)-(\d+)-([0-9a-f]{8})-[0-9a-f]{4}$/;

function warmDirectory(stateDirectory: string): string {
  return join(stateDirectory, "warm");
}

/** Where a new pool of this process keeps its VMs. Nothing is made yet. */
export async function ownDirectory(stateDirectory: string): Promise<string> {
  const { pid, startTime, bootId } = await ownIdentity();
  return join(warmDirectory(stateDirectory), `${pid}-${startTime}-${bootId.slice(0, 8)}-${randomBytes(2).toString("hex")}`);
}

/** Makes the run directory of a VM, and writes down what is about to be started there. */
export async function makePlace(intent: VmIntent): Promise<void> {
  await mkdir(intent.runDirectory, { recursive: true, mode: 0o700 });
  await writeFile(recordOf(intent.runDirectory), JSON.stringify(intent), { mode: 0o600 });
}

/** Removes what `makePlace` has made, and the pool's directory with the last of it. Not there is success. */
export async function removePlace({ runDirectory }: VmIntent): Promise<void> {
  await rm(runDirectory, { recursive: true, force: true });
  await rm(recordOf(runDirectory), { force: true });
  await rmdir(dirname(runDirectory)).catch((error) => {
    if (!["ENOTEMPTY", "EEXIST", "ENOENT"].includes(errnoOf(error) ?? "")) throw error;
  });
}

/** The directories of pools whose process is dead. */
export async function deadDirectories(stateDirectory: string): Promise<readonly string[]> {
  const warm = warmDirectory(stateDirectory);
  const dead: string[] = [];
  for (const name of await namesIn(warm)) if (await isDeadOwners(name)) dead.push(join(warm, name));
  return dead;
}

/** What has been started in a pool's directory, as far as it was written down. */
export async function intentsIn(directory: string): Promise<readonly VmIntent[]> {
  const found: VmIntent[] = [];
  for (const name of await namesIn(directory)) {
    const intent = name.endsWith(".json") ? await readIntent(join(directory, name)) : undefined;
    if (intent) found.push(intent);
  }
  return found;
}

async function isDeadOwners(name: string): Promise<boolean> {
  const [, pid, startTime, boot] = OWNER.exec(name) ?? [];
  if (pid === undefined || startTime === undefined) return false; // not ours
  const bootId = currentBootId();
  return boot !== bootId.slice(0, 8) || !(await isAlive({ pid: Number(pid), startTime, bootId }));
}

/** Half a file is that of a process that died before it started anything. */
async function readIntent(file: string): Promise<VmIntent | undefined> {
  try {
    return JSON.parse(await readFile(file, "utf8")) as VmIntent;
  } catch (error) {
    if (error instanceof SyntaxError || errnoOf(error) === "ENOENT") return undefined;
    throw error;
  }
}

function recordOf(runDirectory: string): string {
  return `${runDirectory}.json`;
}

async function namesIn(directory: string): Promise<readonly string[]> {
  return readdir(directory).catch((error) => {
    if (errnoOf(error) === "ENOENT") return [];
    throw error;
  });
}
