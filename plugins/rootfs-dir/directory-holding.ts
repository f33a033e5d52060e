import { opendir, realpath, stat } from "node:fs/promises";
import { resolve, sep } from "node:path";
import { type HoldingKind, messageOf, type RootfsGrant, type RootfsIntent, TapvisorError, throwIfAborted } from "tapvisor/plugin";

/**
 * A directory that is there already: acquiring it is looking at it, releasing it is nothing. Writes of a copy-on-write container go to a
 * layer in the guest, so no copy is made here.
 */
export function directoryHolding(stateDirectory: string): HoldingKind<RootfsIntent, RootfsGrant> {
  return {
    inProcess: true, // nothing on the host changes
    async acquire({ source }, { signal }) {
      throwIfAborted(signal, `looking at rootfs ${source.kind}`);
      if (source.kind !== "directory") {
        throw new TapvisorError("UNSUPPORTED", `Cannot use a rootfs of kind "${source.kind}": rootfs-dir takes directories only`, {
          data: { what: `rootfs ${source.kind}`, by: "rootfs-dir" },
        });
      }
      const directory = await realDirectory(source.path);
      await refuseDangerous(source.path, directory, stateDirectory);
      return { type: "share", directory };
    },
    release: async () => {},
  };
}

/** Where the path really leads: links are followed now, so that one changed later cannot redirect the container. */
async function realDirectory(path: string): Promise<string> {
  const absolute = resolve(path);
  try {
    const directory = await realpath(absolute);
    if (!(await stat(directory)).isDirectory()) throw unusable(path, `${directory} is not a directory`);
    // Tried, not asked: access(2) answers for the real user, and not at all for a server's rules.
    await (await opendir(directory)).close();
    await stat(`${directory}/.`);
    return directory;
  } catch (error) {
    throw explain(path, absolute, error);
  }
}

/** The host's own root has every secret of the host; the state directory has what controls the sandboxes themselves. */
async function refuseDangerous(path: string, directory: string, stateDirectory: string): Promise<void> {
  if (directory === sep)
    throw unusable(path, `${directory} is the host's own root`, "make a directory for the container, or mount what it needs");
  const state = await realpath(stateDirectory).catch(() => resolve(stateDirectory));
  if (isWithin(state, directory) || isWithin(directory, state)) {
    throw unusable(path, `${directory} shares files with the engine's own state in ${state}`, "use a directory apart from the engine's");
  }
}

function isWithin(path: string, directory: string): boolean {
  return path === directory || path.startsWith(`${directory}${sep}`);
}

function explain(path: string, absolute: string, error: unknown): unknown {
  switch ((error as NodeJS.ErrnoException).code) {
    case "ENOENT":
      return unusable(path, `${absolute} does not exist`, "check the path: a relative one counts from the current directory", error);
    case "ENOTDIR":
      return unusable(path, `a part of ${absolute} is not a directory`, undefined, error);
    case "EACCES":
      return unusable(path, `${absolute} cannot be read by this user`, "change its permissions, or run as its owner", error);
    case "ELOOP":
      return unusable(path, `${absolute} is a link that leads to itself`, undefined, error);
    case "ERR_INVALID_ARG_VALUE":
      return unusable(path, messageOf(error), undefined, error);
    default:
      return error;
  }
}

function unusable(path: string, reason: string, hint?: string, cause?: unknown): TapvisorError {
  return new TapvisorError("INVALID_INPUT", `Cannot use rootfs ${JSON.stringify(path)}: ${reason}, wanted a readable directory`, {
    data: { path: "rootfs", value: path, wanted: "a readable directory" },
    ...(hint === undefined ? {} : { hint }),
    cause,
  });
}
