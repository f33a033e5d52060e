import { posix } from "node:path";
import type { GuestStorage } from "tapvisor/plugin";

/**
 * Storages as a Kata agent mounts them. It makes the mount point of most file systems, but for a share only the directory above it: with a slash
 * at its end the mount point is that directory. And it has no handler for an overlay.
 */
export function kataStorages(storages: readonly GuestStorage[]): readonly GuestStorage[] {
  return storages.flatMap((storage) => {
    if (storage.driver === "overlayfs") return overlay(storage);
    return isShare(storage) ? [{ ...storage, mountPoint: `${storage.mountPoint}/` }] : [storage];
  });
}

function isShare({ driver }: GuestStorage): boolean {
  return driver === "virtio-fs" || driver === "9p";
}

/** A driver that every Kata agent has and that mounts whatever file system is named, to be unmounted with the container. */
const ANY_MOUNT = "9p";
/** An agent looks at the source of any mount, also of one that has none: it must be a path that exists. */
const NO_SOURCE = "/";

/**
 * An overlay by mounts alone. A tmpfs is mounted only where a directory is, so a bind mount makes that directory first; it lies covered. What it binds is
 * the lower directory: one that is a mount of its own, as the entries of a share are, is mounted at that use and not at the overlay's. The layer's two
 * directories are made on the way to the mount point: the agent makes every directory that the path to it passes, and it passes through both.
 */
function overlay({ options, mountPoint }: GuestStorage): readonly GuestStorage[] {
  const [lower, upper, work] = [optionOf(options, "lowerdir"), optionOf(options, "upperdir"), optionOf(options, "workdir")];
  const layer = posix.dirname(upper);
  const through = `${upper}/${posix.relative(upper, work)}/${posix.relative(work, mountPoint)}`;
  return [
    { driver: ANY_MOUNT, source: lower, fstype: "bind", options: ["bind"], mountPoint: layer },
    { driver: ANY_MOUNT, source: NO_SOURCE, fstype: "tmpfs", options: [], mountPoint: layer },
    { driver: ANY_MOUNT, source: NO_SOURCE, fstype: "overlay", options, mountPoint: through },
  ];
}

function optionOf(options: readonly string[], name: "lowerdir" | "upperdir" | "workdir"): string {
  const found = options.find((option) => option.startsWith(`${name}=`));
  if (found === undefined) throw new Error(`an overlay without ${name}`);
  return found.slice(name.length + 1);
}
