import { mkdir, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { errnoOf, messageOf, TapvisorError } from "../base/errors.ts";
import type { HoldingKind } from "../contracts/holding.ts";

/** The files of one snapshot. */
export interface SnapshotFiles {
  readonly directory: string;
  /** The VM with its memory. */
  readonly state: string;
  /** Copies of the disks that it writes to. */
  readonly disks: string;
  /** What it is a snapshot of; written last. */
  readonly manifest: string;
}

export function snapshotFilesIn(directory: string): SnapshotFiles {
  const at = (name: string) => join(directory, name);
  return { directory, state: at("vm.state"), disks: at("disks"), manifest: at("snapshot.json") };
}

/** Where the copies of disks lie that a sandbox of this id writes to; they last as long as its record. */
export function ownDisksOf(root: string, id: string): string {
  return join(root, "disks", id);
}

export interface SnapshotFilesIntent {
  readonly directory: string;
  /** Its name was made up for it: nobody else's can be there. */
  readonly madeUp?: true;
}

/** A new private directory for a snapshot. What is there already is refused, and stays. */
export const snapshotFiles: HoldingKind<SnapshotFilesIntent, true> = {
  async acquire({ directory }) {
    try {
      await mkdir(dirname(directory), { recursive: true });
      await mkdir(directory, { mode: 0o700 });
      return true;
    } catch (cause) {
      const exists = errnoOf(cause) === "EEXIST";
      throw new TapvisorError("STATE_IO", `Cannot make the directory of a snapshot, "${directory}": ${messageOf(cause)}`, {
        data: { file: directory, operation: "mkdir", errno: errnoOf(cause) },
        ...(exists ? { hint: "a snapshot is never written over: name another directory, or remove that one" } : {}),
        cause,
      });
    }
  },
  // Without a grant the directory may be another's, that was there before.
  release: async ({ intent: { directory, madeUp }, grant }) => {
    if (grant || madeUp) return rm(directory, { recursive: true, force: true });
  },
};
