import { stat } from "node:fs/promises";
import { TapvisorError } from "../base/errors.ts";
import type { ContainerConfig } from "../config/container-config.ts";
import type { MountConfig } from "../config/mounts-config.ts";
import type { ShareEntry } from "../contracts/hypervisor.ts";
import type { DiskRequest } from "../device/plug-disk.ts";
import { ensureVolume, volumeDirectory } from "../volume/volumes.ts";

/** Something of the host that the guest sees by the container's share. */
export interface SharedMount {
  readonly index: number;
  readonly source: string;
  readonly type: ShareEntry["type"];
  readonly readonly: boolean;
}

/** A disk that the container gets: by a device node, or by the file system on it. */
export interface DiskUse extends DiskRequest {
  readonly target: string;
  /** Present when its file system is mounted. */
  readonly fstype?: string;
  /** The index of the mount that it stands for, when it is one. */
  readonly index?: number;
}

export interface MountSources {
  readonly shared: readonly SharedMount[];
  readonly disks: readonly DiskUse[];
}

/**
 * Looks at what a container's mounts and devices stand for on the host: a bind mount of a block device is a device of the container, a named
 * volume a directory that is made now if it is new, but for a dry run.
 * @throws INVALID_INPUT naming the field for a source that is missing or of another kind.
 */
export async function mountSources(
  root: string,
  config: ContainerConfig,
  { dryRun = false }: { readonly dryRun?: boolean } = {},
): Promise<MountSources> {
  const volume = (name: string) => (dryRun ? volumeDirectory(root, name) : ensureVolume(root, name));
  const found = await Promise.all(config.mounts.map((mount, index) => sourceOf(volume, mount, index)));
  const devices = config.devices.map(
    ({ driver, ...device }, index): DiskUse => ({ ...device, driver, field: `container.devices.${index}.path` }),
  );
  return { shared: found.flatMap(({ shared }) => shared ?? []), disks: [...found.flatMap(({ disk }) => disk ?? []), ...devices] };
}

async function sourceOf(
  volume: (name: string) => string | Promise<string>,
  mount: MountConfig,
  index: number,
): Promise<{ shared?: SharedMount; disk?: DiskUse }> {
  switch (mount.type) {
    case "tmpfs":
      return {};
    case "volume":
      return { shared: { index, source: await volume(mount.volume), type: "directory", readonly: mount.readonly } };
    case "block": {
      const { path, format, readonly, target, fstype } = mount;
      return { disk: { field: `container.mounts.${index}.block`, path, format, readonly, target, fstype, index } };
    }
    case "bind":
      return bindSource(mount, index);
  }
}

async function bindSource(
  { source, target, readonly }: Extract<MountConfig, { type: "bind" }>,
  index: number,
): Promise<{ shared?: SharedMount; disk?: DiskUse }> {
  const field = `container.mounts.${index}.source`;
  const found = await stat(source).catch((error: NodeJS.ErrnoException) => error);
  const refuse = (why: string) => {
    const wanted = "an existing directory, file or block device of the host";
    return new TapvisorError("INVALID_INPUT", `Cannot use ${field} "${source}": ${why}`, { data: { path: field, value: source, wanted } });
  };
  if (found instanceof Error) throw refuse(found.code === "ENOENT" ? "it does not exist" : found.message);
  if (found.isDirectory()) return { shared: { index, source, type: "directory", readonly } };
  if (found.isFile()) return { shared: { index, source, type: "file", readonly } };
  if (found.isBlockDevice()) return { disk: { field, path: source, format: "raw", readonly, target, index } };
  throw refuse("it is neither a directory, a file nor a block device");
}
