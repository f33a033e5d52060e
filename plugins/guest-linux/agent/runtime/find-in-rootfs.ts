import type { Stats } from "node:fs";
import { lstat, readlink } from "node:fs/promises";
import { posix } from "node:path";

export interface FoundFile {
  /** Where the guest has it. */
  readonly path: string;
  readonly stats: Stats;
}

const MAX_LINKS = 40;

/** Follows links as the container would, so that an absolute one stays inside the rootfs; only ever looks. `undefined` when there is no such file. */
export async function findInRootfs(rootfs: string, path: string): Promise<FoundFile | undefined> {
  let rest = path.split("/").filter(Boolean);
  let at = "/";
  let found = await lstat(rootfs).catch(() => undefined);
  for (let links = 0; rest.length > 0; ) {
    const [name = "", ...after] = rest;
    const next = posix.join(at, name);
    found = await lstat(posix.join(rootfs, next)).catch(() => undefined);
    if (!found) return undefined;
    if (found.isSymbolicLink()) {
      if (++links > MAX_LINKS) return undefined;
      const target = posix.resolve(at, await readlink(posix.join(rootfs, next)).catch(() => name));
      rest = [...target.split("/").filter(Boolean), ...after];
      at = "/";
    } else {
      rest = after;
      at = next;
    }
  }
  return found && { path: posix.join(rootfs, at), stats: found };
}
