import { chmod, lstat, mkdir, readdir, rename } from "node:fs/promises";
import { dirname, join } from "node:path";
import { errnoOf, TapvisorError } from "../base/errors.ts";
import { checkId, ID_PATTERN, newId } from "../base/ids.ts";
import type { Bytes } from "../base/units.ts";
import { diskUsage } from "./disk-usage.ts";
import { removeTree } from "./remove-tree.ts";

/** A directory of the host that outlives the containers using it, by name. */
export interface Volume {
  readonly name: string;
  /** When it was made, ISO 8601. */
  readonly created: string;
  /** What its files take on the host's disk; absent when nobody asked, or when it could not be found out. */
  readonly bytes?: Bytes;
}

const MODE = 0o755;
/** What a volume is made with: its maker's umask does not touch these bits, so that one whose maker died before the next step is known. */
const UNFINISHED_MODE = 0o1700;
const REMOVED = ".removed";

/** Where a volume lies, there or not. @throws INVALID_INPUT when the name cannot be one. */
export function volumeDirectory(root: string, name: string): string {
  return join(root, "volumes", checkId("volume", name));
}

/**
 * The directory of a volume, made with mode 0755 when there is none. What a container has made of an existing one, its mode too, stays.
 *
 * @throws INVALID_INPUT when something else, a link too, is in its place.
 */
export async function ensureVolume(root: string, name: string): Promise<string> {
  const directory = volumeDirectory(root, name);
  await mkdir(dirname(directory), { recursive: true, mode: 0o700 });
  for (;;) {
    await mkdir(directory, UNFINISHED_MODE).catch(unless("EEXIST"));
    const mode = await modeOf(directory, name);
    if (mode === undefined) continue; // it was removed meanwhile
    if ((mode & 0o1777) === UNFINISHED_MODE) await chmod(directory, MODE).catch(unless("ENOENT"));
    return directory;
  }
}

/** All volumes by name. With `measure` each is walked through, which takes its time; the signal ends that early. */
export async function listVolumes(
  root: string,
  { measure = false, signal }: { readonly measure?: boolean; readonly signal?: AbortSignal | undefined } = {},
): Promise<readonly Volume[]> {
  const volumes: Volume[] = [];
  for (const name of (await names(root)).filter((each) => ID_PATTERN.test(each)).sort()) {
    const directory = join(root, "volumes", name);
    const stats = await lstat(directory).catch(unless("ENOENT"));
    if (!stats?.isDirectory()) continue;
    const bytes = measure ? await diskUsage(directory, signal) : undefined;
    volumes.push({ name, created: stats.birthtime.toISOString(), ...(bytes !== undefined && { bytes }) });
  }
  return volumes;
}

/**
 * Removes a volume with all that is in it; not there is success. It is out of sight in one step, before its files go: a removal that is cut off
 * is finished by the next one, or by `sweepVolumes`.
 *
 * @param usedBy the sandboxes that use it: while there are any it stays.
 * @throws VOLUME_IN_USE; INVALID_INPUT when it is no directory; ABORTED when the signal fires first.
 */
export async function removeVolume(root: string, name: string, usedBy: readonly string[], signal?: AbortSignal): Promise<void> {
  const directory = volumeDirectory(root, name);
  if (usedBy.length > 0) throw inUse(name, usedBy);
  if ((await modeOf(directory, name)) !== undefined) {
    await rename(directory, join(root, "volumes", newId(REMOVED))).catch(unless("ENOENT"));
  }
  await sweepVolumes(root, signal);
}

/** Removes what is left of volumes whose removal was cut off. */
export async function sweepVolumes(root: string, signal?: AbortSignal): Promise<void> {
  const left = (await names(root)).filter((name) => name.startsWith(`${REMOVED}-`));
  for (const name of left) await removeTree(join(root, "volumes", name), signal);
}

async function names(root: string): Promise<readonly string[]> {
  return (await readdir(join(root, "volumes")).catch(unless("ENOENT"))) ?? [];
}

/** Permissions of a volume's directory; `undefined` when there is none. */
async function modeOf(directory: string, name: string): Promise<number | undefined> {
  const stats = await lstat(directory).catch(unless("ENOENT"));
  if (!stats || stats.isDirectory()) return stats?.mode;
  const found = `${directory} is a ${stats.isSymbolicLink() ? "link" : "file"}`;
  throw new TapvisorError("INVALID_INPUT", `Cannot use volume "${name}": ${found}, wanted a directory`, {
    data: { path: "volume", value: name, wanted: "a directory" },
    hint: "use another name, or move away what is in its place: a volume is made where there is nothing",
  });
}

function inUse(name: string, sandboxes: readonly string[]): TapvisorError {
  const users = sandboxes.map((sandbox) => `"${sandbox}"`).join(", ");
  return new TapvisorError("VOLUME_IN_USE", `Cannot remove volume "${name}": in use by sandbox ${users}, wanted it used by none`, {
    data: { id: name, sandboxes },
    hint: "delete its users first",
  });
}

function unless(errno: string): (error: unknown) => undefined {
  return (error) => {
    if (errnoOf(error) !== errno) throw error;
  };
}
