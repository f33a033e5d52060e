import { type FileHandle, open } from "node:fs/promises";
import { join, posix } from "node:path";
import { errnoOf, isAlive } from "tapvisor/plugin";
import type { Agent } from "../agent.ts";
import type { GuestContainer } from "../container/guest-container.ts";
import { DIRECTORY, DIRECTORY_ONLY } from "./flags.ts";

/** A directory that paths begin in and cannot lead out of. */
export interface Root {
  readonly handle: FileHandle;
  /** Where it is in the container. */
  readonly at: readonly string[];
  /** Mount points that show what they cover, since their container does not run. */
  readonly uncovered: ReadonlySet<string>;
  /** The mount itself may be written, and the container is not to be. */
  readonly readonly: boolean;
}

/**
 * The root of a container: while it runs as its process has it, mounts and all, before and after that its root file system alone. The caller closes it.
 * @throws FAILED_PRECONDITION when the container is not created yet.
 */
export async function openRoot({ paths }: Agent, container: GuestContainer): Promise<Root> {
  const process = container.init?.state === "running" ? container.init.identity : undefined;
  if (process) {
    const handle = await open(join(paths.proc, String(process.pid), "root"), DIRECTORY).catch(ifGone);
    // The number may have become another's before the open, and then the process is not alive any more.
    if (handle && (await isAlive(process))) return { handle, at: [], uncovered: new Set(), readonly: false };
    await handle?.close();
  }
  const { root, mounts } = container.config;
  const uncovered = new Set(mounts.map(({ destination }) => posix.normalize(destination).replace(/(?<=.)\/$/, "")));
  return { handle: await open(container.files.rootfs, DIRECTORY_ONLY), at: [], uncovered, readonly: root.readonly };
}

/** A process that has ended has no root any more. */
function ifGone(error: unknown): undefined {
  if (!["ENOENT", "ESRCH", "EACCES"].includes(errnoOf(error))) throw error;
}
