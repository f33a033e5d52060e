import type { Stats } from "node:fs";
import { type FileHandle, mkdir, open, readlink } from "node:fs/promises";
import { errnoOf } from "tapvisor/plugin";
import { FileError } from "./file-error.ts";
import { DIRECTORY_ONLY, NAME_ONLY, pathOf } from "./flags.ts";
import type { Root } from "./root.ts";

/** As many as the kernel follows. */
const MAX_LINKS = 40;
/** Each level is a descriptor while a path is walked. */
const MAX_DEPTH = 256;
const MAX_PATH_BYTES = 4096;

export interface WalkOptions {
  /** Whether a link as the last part is followed. */
  readonly follow: boolean;
  /** Makes the directories that are missing above the last part. */
  readonly makeDirectories?: boolean;
}

/** What a path has led to. Its descriptors are valid while `walk`'s `use` runs. */
export interface Found {
  /** The directory that holds it. */
  readonly parent: FileHandle;
  /** Its name there; empty for the root itself, and for what only ".." has led to. */
  readonly name: string;
  /** Where it is in the container. */
  readonly at: readonly string[];
  /** Itself, named and not opened; undefined when there is nothing of this name. */
  readonly entry: FileHandle | undefined;
  readonly stats: Stats | undefined;
}

interface Level {
  readonly handle: FileHandle;
  readonly name: string;
}

/**
 * Goes along a path one name at a time, each looked up in the descriptor of the directory before it and never followed by the kernel. So what a container's
 * processes rename or exchange meanwhile leads to a failure or to another file of the container, never out of the root: an absolute link begins again at the
 * root, and ".." goes back the way that was come.
 * @throws ENOENT, ENOTDIR, ELOOP, EINVAL, ENAMETOOLONG.
 */
export async function walk<T>(root: Root, path: string, options: WalkOptions, use: (found: Found) => Promise<T>): Promise<T> {
  const levels: Level[] = [];
  let last: FileHandle | undefined;
  try {
    const pending = partsOf(path);
    for (let links = 0; ; ) {
      const name = pending.shift();
      if (name === undefined) return await use(await foundDirectory(root, levels));
      if (name === "..") {
        await levels.pop()?.handle.close();
        continue;
      }
      const parent = levels.at(-1)?.handle ?? root.handle;
      const at = [...root.at, ...levels.map((level) => level.name), name];
      if (root.uncovered.has(`/${at.join("/")}`)) throw notMounted(at);
      const isLast = pending.length === 0;
      last = await openEntry(parent, name, !isLast && options.makeDirectories === true);
      const stats = await last?.stat();
      if (stats?.isDirectory() && last) {
        if (levels.length >= MAX_DEPTH)
          throw new FileError("ENAMETOOLONG", `Cannot use ${shown(path)}: it is deeper than ${MAX_DEPTH} directories`);
        levels.push({ handle: last, name });
        last = undefined;
      } else if (stats?.isSymbolicLink() && (!isLast || options.follow)) {
        await last?.close();
        last = undefined;
        if (++links > MAX_LINKS)
          throw new FileError("ELOOP", `Cannot use ${shown(path)}: more than ${MAX_LINKS} links lead from one to another`);
        const target = await linkTarget(parent, name);
        if (target === undefined)
          pending.unshift(name); // exchanged meanwhile: look again
        else if (target.startsWith("/")) for (const level of levels.splice(0)) await level.handle.close();
        pending.unshift(...partsOf(target ?? ""));
      } else if (isLast) {
        return await use({ parent, name, at, entry: last, stats });
      } else {
        throw new FileError(
          stats ? "ENOTDIR" : "ENOENT",
          `Cannot use ${shown(path)}: ${shown(`/${at.join("/")}`)} ${stats ? "is no directory" : "does not exist"}`,
        );
      }
    }
  } finally {
    await last?.close();
    for (const { handle } of levels) await handle.close();
  }
}

async function foundDirectory(root: Root, levels: readonly Level[]): Promise<Found> {
  const entry = levels.at(-1)?.handle ?? root.handle;
  return {
    parent: levels.at(-2)?.handle ?? root.handle,
    name: levels.at(-1)?.name ?? "",
    at: [...root.at, ...levels.map(({ name }) => name)],
    entry,
    stats: await entry.stat(),
  };
}

async function openEntry(parent: FileHandle, name: string, makeDirectory: boolean): Promise<FileHandle | undefined> {
  const path = pathOf(parent, name);
  const found = await open(path, NAME_ONLY).catch(unlessMissing);
  if (found || !makeDirectory) return found;
  await mkdir(path, 0o755).catch((error: unknown) => {
    if (errnoOf(error) !== "EEXIST") throw error;
  });
  return await open(path, DIRECTORY_ONLY);
}

async function linkTarget(parent: FileHandle, name: string): Promise<string | undefined> {
  return await readlink(pathOf(parent, name)).catch((error: unknown) => {
    if (["EINVAL", "ENOENT"].includes(errnoOf(error))) return undefined;
    throw error;
  });
}

function unlessMissing(error: unknown): undefined {
  if (errnoOf(error) !== "ENOENT") throw error;
}

/** @throws INVALID_ARGUMENT unless it is an absolute path that the kernel would take. */
export function checkPath(path: string): string {
  if (path.startsWith("/") && !path.includes("\0") && Buffer.byteLength(path) < MAX_PATH_BYTES) return path;
  throw new FileError(
    "EINVAL",
    `Cannot use the path ${shown(path.slice(0, 256))}: wanted an absolute path of less than ${MAX_PATH_BYTES} bytes`,
  );
}

function partsOf(path: string): string[] {
  return path.split("/").filter((part) => part !== "" && part !== ".");
}

function notMounted(at: readonly string[]): FileError {
  const mount = shown(`/${at.join("/")}`);
  return new FileError(
    "ENXIO",
    `Cannot use what is mounted at ${mount}: the container does not run, and mounts are there only while it does`,
  );
}

export function shown(path: string): string {
  return JSON.stringify(path);
}
