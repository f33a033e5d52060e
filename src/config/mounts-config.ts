import { isAbsolute, normalize } from "node:path";
import { z } from "zod";
import type { Bytes } from "../base/units.ts";
import { type DeviceOptions, deviceFields, filesystem, hostPath, readonlyFlag } from "./device-config.ts";
import { bytesSchema, idSchema, pathText } from "./validate.ts";

/** What a container sees at a path besides its rootfs. Targets are absolute paths in the container, each once. */
export type ContainerMount = BindMount | VolumeMount | TmpfsMount | BlockMount;

/** How a mount may be used, as `mount -o` has it. */
export type MountFlag = (typeof MOUNT_FLAGS)[number];
export const MOUNT_FLAGS = ["nosuid", "nodev", "noexec", "noatime", "nodiratime", "relatime", "strictatime"] as const;

/** A directory or file of the host; a block device of the host becomes a device of the container. */
export interface BindMount {
  readonly source: string;
  readonly target: string;
  /** Enforced on the host; `false` by default: the container writes to the host's files. */
  readonly readonly?: boolean;
  readonly options?: readonly MountFlag[];
}

/** A directory that the engine keeps by its name, below its root: made when first used, there until it is removed. */
export interface VolumeMount {
  readonly volume: string;
  readonly target: string;
  readonly readonly?: boolean;
  readonly options?: readonly MountFlag[];
}

/** Memory of the guest; counts against the container's limit. */
export interface TmpfsMount {
  readonly tmpfs: true;
  readonly target: string;
  /** The most it holds; half the guest's memory by default. */
  readonly size?: string | number;
  /** Permission bits; 0o1777 by default. */
  readonly mode?: number;
  /** `["nosuid", "nodev"]` by default. */
  readonly options?: readonly MountFlag[];
}

/** The file system on a disk image or block device of the host, plugged in as a disk. */
export interface BlockMount {
  readonly block: string;
  readonly target: string;
  /** As `mount -t` takes it; "ext4" by default. */
  readonly fstype?: string;
  /** "raw" by default. */
  readonly format?: "raw" | "qcow2";
  readonly readonly?: boolean;
}

type MountFlags = readonly MountFlag[] | undefined;

export type MountConfig =
  | { readonly type: "bind"; readonly source: string; readonly target: string; readonly readonly: boolean; readonly flags?: MountFlags }
  | { readonly type: "volume"; readonly volume: string; readonly target: string; readonly readonly: boolean; readonly flags?: MountFlags }
  | {
      readonly type: "tmpfs";
      readonly target: string;
      readonly sizeBytes?: Bytes | undefined;
      readonly mode: number;
      readonly flags?: MountFlags;
    }
  | {
      readonly type: "block";
      readonly path: string;
      readonly target: string;
      readonly fstype: string;
      readonly format: "raw" | "qcow2";
      readonly readonly: boolean;
    };

/** A block device or disk image of the host that the container gets as a device node. */
export interface ContainerDevice extends DeviceOptions {
  /** Where the container finds it; the host's own path by default, for a device below /dev. */
  readonly target?: string;
}

export interface DeviceConfig {
  readonly path: string;
  readonly target: string;
  readonly readonly: boolean;
  readonly format: "raw" | "qcow2";
  readonly driver?: "virtio-scsi" | "virtio-blk" | undefined;
}

export const guestPath = pathText
  .refine(isAbsolute, "wanted an absolute path in the container")
  .refine((path) => !path.split("/").includes(".."), 'wanted a path without ".."')
  .transform((path) => normalize(path).replace(/(.)\/$/, "$1"));

/** What the guest makes itself for every container: nothing of the host may stand there. */
const SYSTEM = ["/proc", "/sys"];
const MADE = ["/dev", "/dev/pts", "/dev/mqueue"];

const mountTarget = guestPath
  .refine((path) => path !== "/", 'wanted a path below "/": the rootfs is there')
  .refine(
    (path) => !SYSTEM.some((system) => path === system || path.startsWith(`${system}/`)) && !MADE.includes(path),
    "wanted another path: the guest makes /proc, /sys and /dev itself",
  );

const flags = z.array(z.enum(MOUNT_FLAGS, `wanted one of ${MOUNT_FLAGS.join(", ")}`), "wanted a list of options").optional();

const SCHEMAS = {
  source: z
    .strictObject({
      source: hostPath,
      target: mountTarget.refine(notShm, "wanted another path: size /dev/shm by shmSize"),
      readonly: readonlyFlag,
      options: flags,
    })
    .transform(({ options, ...given }): MountConfig => ({ type: "bind", ...given, ...(options && { flags: options }) })),
  volume: z
    .strictObject({ volume: idSchema, target: mountTarget, readonly: readonlyFlag, options: flags })
    .transform(({ options, ...given }): MountConfig => ({ type: "volume", ...given, ...(options && { flags: options }) })),
  tmpfs: z
    .strictObject({
      tmpfs: z.literal(true, "wanted true"),
      target: mountTarget,
      size: bytesSchema.optional(),
      mode: z.int("wanted permission bits").min(0).max(0o7777, "wanted permission bits, at most 0o7777").default(0o1777),
      options: flags,
    })
    .transform(({ target, size, mode, options }): MountConfig => {
      return { type: "tmpfs", target, sizeBytes: size as Bytes | undefined, mode, ...(options && { flags: options }) };
    }),
  block: z
    .strictObject({
      block: hostPath,
      target: mountTarget,
      fstype: filesystem.default("ext4"),
      format: deviceFields.format,
      readonly: readonlyFlag,
    })
    .transform(({ block, ...given }): MountConfig => ({ type: "block", path: block, ...given })),
};

const KINDS = Object.keys(SCHEMAS) as (keyof typeof SCHEMAS)[];

/** One mount, by the field that tells its kind, so that a complaint names the field that is wrong. */
const mount = z
  .record(z.string(), z.unknown(), "wanted { source, target }, { volume, target }, { tmpfs: true, target } or { block, target }")
  .transform((value, context) => {
    const kinds = KINDS.filter((kind) => Object.hasOwn(value, kind));
    if (kinds.length !== 1) {
      context.addIssue({ code: "custom", message: `wanted one of ${KINDS.join(", ")} to tell what is mounted` });
      return z.NEVER;
    }
    const parsed = SCHEMAS[kinds[0] as keyof typeof SCHEMAS].safeParse(value);
    if (parsed.success) return parsed.data;
    for (const issue of parsed.error.issues) context.addIssue({ ...issue, code: "custom", path: issue.path } as never);
    return z.NEVER;
  });

export const mountsSchema = z.array(mount, "wanted a list of mounts").default([]);

export const devicesSchema = z
  .array(z.strictObject({ ...deviceFields, target: mountTarget.optional() }), "wanted a list of devices")
  .transform((devices) => devices.map(({ target, ...device }): DeviceConfig => ({ ...device, target: target ?? device.path })))
  .refine(
    (devices) => devices.every(({ target }) => target.startsWith("/dev/")),
    "wanted a target below /dev for each device: name one for an image file",
  )
  .default([]);

function notShm(path: string): boolean {
  return path !== "/dev/shm";
}
