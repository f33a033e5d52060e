import type { StorageMessage } from "tapvisor/protocol";
import { type Disk, parseDisk } from "../disk/disk.ts";
import { checkOpenPath, type GuestPaths } from "../guest-paths.ts";
import { joinOptions, refuse } from "./options.ts";
import { overlay } from "./overlayfs.ts";
import { tmpfs } from "./tmpfs.ts";

/** One thing to do, in order, to have the storages of a request mounted. */
export type Step =
  | { readonly kind: "directory"; readonly path: string }
  /** Goes into a directory, which must be there: a file system that mounts itself at the first use does so then, and an overlay refuses it before. */
  | { readonly kind: "enter"; readonly path: string }
  | {
      readonly kind: "mount";
      readonly fstype: string;
      readonly options: string;
      readonly source: string;
      readonly target: string;
      /** What may have been plugged in just now: a virtio-fs tag, a node in /dev, or a disk, whose node is the source then. */
      readonly awaits?: "virtio-fs" | "device" | Disk;
    };

/** What a storage handler may use: where things are, a directory of the owner's own, what is mounted by the steps before. */
export interface PlanContext {
  readonly paths: GuestPaths;
  /** Below it a handler may mount things of its own; it belongs to the container and goes with it. */
  readonly ownDirectory: string;
  readonly index: number;
  readonly mountedBefore: readonly string[];
}

type StorageHandler = (storage: StorageMessage, context: PlanContext) => readonly Step[];

const HANDLERS: Readonly<Record<string, StorageHandler>> = {
  "virtio-fs": (storage) => {
    if (!/^[\w.-]{1,36}$/.test(storage.source)) refuse(storage, `the tag ${JSON.stringify(storage.source)} is not usable`);
    return [straight(storage, "virtiofs", storage.options, "virtio-fs")];
  },
  "9p": (storage) => {
    if (!/^[\w.-]{1,31}$/.test(storage.source)) refuse(storage, `the tag ${JSON.stringify(storage.source)} is not usable`);
    return [straight(storage, "9p", storage.options)];
  },
  blk: disk,
  scsi: disk,
  overlayfs: overlay,
  ephemeral: tmpfs,
  local: tmpfs,
};

/** The drivers that `Storage.driver` may name. */
export const STORAGE_DRIVERS: readonly string[] = Object.keys(HANDLERS);

/**
 * What is to be done for the storages of one request, in their order. Pure: nothing is mounted when one of them is refused.
 * @throws INVALID_ARGUMENT naming the storage and the field.
 */
export function planStorages(storages: readonly StorageMessage[], paths: GuestPaths, ownDirectory: string): readonly Step[] {
  const steps: Step[] = [];
  for (const [index, given] of storages.entries()) {
    const storage = { ...given, mount_point: given.mount_point.replace(/\/$/, "") }; // Kata's runtime ends that of a share with a slash
    const handler = Object.hasOwn(HANDLERS, storage.driver) ? HANDLERS[storage.driver] : undefined;
    if (!handler) refuse(storage, `there is no such driver, wanted one of ${STORAGE_DRIVERS.join(", ")}`);
    checkOpenPath(paths, "mount_point", storage.mount_point);
    const mountedBefore = steps.flatMap((step) => (step.kind === "mount" ? [step.target] : []));
    if (mountedBefore.includes(storage.mount_point)) refuse(storage, "something is mounted there already");
    steps.push({ kind: "directory", path: storage.mount_point }, ...handler(storage, { paths, ownDirectory, index, mountedBefore }));
  }
  return steps;
}

/** A file system on a disk: by where the disk is plugged in, or by a node in /dev. */
function disk(storage: StorageMessage, { paths }: PlanContext): readonly Step[] {
  const { driver, source, fstype, options } = storage;
  if (!/^[a-z][a-z0-9]{1,15}$/.test(fstype)) refuse(storage, `the file system ${JSON.stringify(fstype)} is not usable`);
  const isNode = new RegExp(`^${paths.dev}/[a-z]+[a-z0-9]*$`).test(source);
  return [straight(storage, fstype, options, isNode ? "device" : parseDisk(driver, source))];
}

function straight(storage: StorageMessage, fstype: string, options: readonly string[], awaits?: "virtio-fs" | "device" | Disk): Step {
  const { source, mount_point: target } = storage;
  return { kind: "mount", fstype, options: joinOptions(storage, options), source, target, ...(awaits && { awaits }) };
}
