import type { ContainerConfig } from "../config/container-config.ts";
import type { GuestDevice, GuestStorage } from "../contracts/agent.ts";
import type { GuestDisk, ShareEntry, ShareGrant } from "../contracts/hypervisor.ts";
import type { RootfsGrant } from "../contracts/rootfs.ts";
import { guestContainerOf, guestRootfsOf, guestShareOf } from "../sandbox/paths.ts";
import type { DiskUse, SharedMount } from "./mount-sources.ts";

/** What of a container has been plugged into its VM. */
export interface PluggedFiles {
  readonly rootfs: RootfsGrant;
  readonly share?: ShareGrant | undefined;
  /** The disk that the rootfs is on, when it is on one. */
  readonly rootDisk?: GuestDisk;
  readonly disks: readonly PluggedUse[];
}

export interface PluggedUse extends DiskUse {
  readonly disk: GuestDisk;
}

/** The entries of a container's share: its rootfs unless that is a disk, then its mounts in order. */
export function shareEntries(config: ContainerConfig, rootfs: RootfsGrant, mounts: readonly SharedMount[]): ShareEntry[] {
  const root: ShareEntry[] =
    rootfs.type === "share"
      ? [{ name: "rootfs", source: rootfs.directory, type: "directory", readonly: config.rootfs.access !== "shared" }]
      : [];
  return [...root, ...mounts.map(({ index, source, type, readonly }) => ({ name: mountName(index), source, type, readonly }))];
}

function mountName(index: number): string {
  return `mount-${index}`;
}

/** Where the guest has what a mount shows. */
export function guestMountSource(container: string, index: number, type: "bind" | "volume" | "block"): string {
  return type === "block" ? `${guestContainerOf(container)}/${mountName(index)}` : `${guestShareOf(container)}/${mountName(index)}`;
}

/**
 * The file systems the guest mounts before the container starts: the share, the disk of the rootfs, the disks that are mounts; and over the rootfs
 * a layer of the container's own unless the files themselves are to be written.
 */
export function guestStorages(config: ContainerConfig, { rootfs, share, rootDisk, disks }: PluggedFiles): GuestStorage[] {
  const storages: GuestStorage[] = [];
  if (share) {
    const { driver, source, fstype } = share.guest;
    storages.push({ driver, source, fstype, options: [], mountPoint: guestShareOf(config.id) });
  }
  if (rootDisk && rootfs.type === "block") {
    storages.push(diskStorage(rootDisk, rootfs.fstype, config.rootfs.access !== "shared", plainRootfsOf(config.id, rootfs)));
  }
  if (config.rootfs.access !== "shared") {
    const layer = `${guestContainerOf(config.id)}/layer`;
    const options = [`lowerdir=${plainRootfsOf(config.id, rootfs)}`, `upperdir=${layer}/upper`, `workdir=${layer}/work`];
    storages.push({ driver: "overlayfs", source: "overlay", fstype: "overlay", options, mountPoint: guestRootfsOf(config.id) });
  }
  for (const { disk, fstype, readonly, index } of disks) {
    if (fstype !== undefined && index !== undefined) {
      storages.push(diskStorage(disk, fstype, readonly, guestMountSource(config.id, index, "block")));
    }
  }
  return storages;
}

/** The disks that the container gets as device nodes. */
export function guestDevices({ disks }: PluggedFiles): GuestDevice[] {
  return disks
    .filter(({ fstype }) => fstype === undefined)
    .map(({ disk, target, readonly }) => ({ disk, containerPath: target, permissions: readonly ? "rm" : "rwm" }));
}

/** The bind mounts of block devices: they are devices of the container, and no mounts. */
export function mountsAsDevices({ disks }: PluggedFiles): Set<number> {
  return new Set(disks.flatMap(({ fstype, index }) => (fstype === undefined && index !== undefined ? [index] : [])));
}

/** Where the guest has the rootfs itself, below any layer. */
export function plainRootfsOf(container: string, rootfs: RootfsGrant): string {
  return rootfs.type === "block" ? `${guestContainerOf(container)}/disk` : `${guestShareOf(container)}/rootfs`;
}

function diskStorage({ driver, address }: GuestDisk, fstype: string, readonly: boolean, mountPoint: string): GuestStorage {
  return { driver, source: address, fstype, options: readonly ? ["ro"] : [], mountPoint };
}
