import type { FilePlaceMessage } from "tapvisor/protocol";
import { type Agent, findContainer } from "../agent.ts";
import type { GuestContainer } from "../container/guest-container.ts";
import { StatusError } from "../status.ts";
import { asFileError, FileError } from "./file-error.ts";
import { openRoot, type Root } from "./root.ts";
import { checkPath, type Found, shown, type WalkOptions, walk } from "./walk.ts";

export interface PlaceUse extends WalkOptions {
  /** Something is to be changed. */
  readonly change?: boolean;
}

/** What a call on a file works with. */
export interface FileScope {
  readonly container: GuestContainer;
  readonly found: Found;
  /** What the path began in. */
  readonly root: Root;
  /** Fires also when the container is removed. */
  readonly signal: AbortSignal;
}

/**
 * Finds what a request is about, in a container's root or in a directory of it, and works with it while it is held.
 * @throws NOT_FOUND, INVALID_ARGUMENT, and what `walk` throws.
 */
export async function withPlace<T>(
  agent: Agent,
  place: FilePlaceMessage | null,
  { change = false, ...options }: PlaceUse,
  signal: AbortSignal,
  work: (scope: FileScope) => Promise<T>,
): Promise<T> {
  if (!place) throw new StatusError("INVALID_ARGUMENT", "Cannot use the file: the request does not say which");
  const { container_id, path, base } = place;
  const container = findContainer(agent, container_id);
  try {
    return await container.fileWork.run(signal, async (inner) => {
      const root = await openRoot(agent, container);
      try {
        if (change && root.readonly)
          throw new FileError("EROFS", `Cannot change ${shown(path)}: the container's root file system is read-only`);
        const use = (within: Root) =>
          walk(within, checkPath(path), options, (found) => {
            inner.throwIfAborted();
            return work({ container, found, root: within, signal: inner });
          });
        if (base === "") return await use(root);
        return await walk(root, checkPath(base), { follow: true }, async ({ entry, stats, at }) => {
          if (!entry || !stats?.isDirectory())
            throw new FileError(stats ? "ENOTDIR" : "ENOENT", `Cannot use ${shown(base)}: wanted a directory`);
          return await use({ ...root, handle: entry, at });
        });
      } finally {
        await root.handle.close();
      }
    });
  } catch (error) {
    throw asFileError(error, path);
  }
}

/** @throws ENOENT when there is nothing. */
export function existing<Part extends "entry" | "stats">(found: Found, part: Part): NonNullable<Found[Part]> {
  const value = found[part];
  if (value) return value as NonNullable<Found[Part]>;
  throw new FileError("ENOENT", `Cannot use ${shown(`/${found.at.join("/")}`)}: it does not exist`);
}

/** @throws EBUSY for a root: it has no name that could be changed. */
export function named({ name, at }: Found): string {
  if (name !== "") return name;
  throw new FileError("EBUSY", `Cannot use ${shown(`/${at.join("/")}`)} for this: it is where the path begins`);
}
