import { accessSync, constants, statSync } from "node:fs";
import { isAbsolute, resolve } from "node:path";
import { z } from "zod";
import { newId } from "../base/ids.ts";
import { type Bytes, MiB } from "../base/units.ts";
import type { OciCapabilities, OciDevice, OciProcess } from "../contracts/oci.ts";
import type { RootfsIntent, RootfsSource } from "../contracts/rootfs.ts";
import { expandBundle } from "./bundle/bundle.ts";
import { type CapabilityOptions, capabilitiesSchema } from "./capabilities-config.ts";
import { diskFormat, filesystem } from "./device-config.ts";
import {
  type ContainerDevice,
  type ContainerMount,
  type DeviceConfig,
  devicesSchema,
  guestPath,
  type MountConfig,
  mountsSchema,
} from "./mounts-config.ts";
import { type DeviceNodeOptions, deviceNodesSchema } from "./node-config.ts";
import {
  argvSchema,
  processFields,
  type RlimitOptions,
  type TtySize,
  type UserConfig,
  type UserOptions,
  wordSchema,
} from "./process-config.ts";
import { checkReservation, type ResourceConfig, type ResourceOptions, resourceConfig, resourcesSchema } from "./resources-config.ts";
import { type SeccompOptions, seccompSchema } from "./seccomp-config.ts";
import { sysctlSchema } from "./sysctl-config.ts";
import { bytesSchema, idSchema, pathText, textSchema, validate } from "./validate.ts";

/** What a script asks of a new container. */
export interface ContainerOptions {
  /** Its name, unique in the sandbox; made up when absent. */
  readonly id?: string;
  /** A directory of the host; an object for the other kinds and for how it is written to. */
  readonly rootfs:
    | string
    | { readonly directory: string; readonly access?: "copy-on-write" | "readonly" | "shared" }
    | { readonly image: string; readonly access?: "copy-on-write" | "readonly" }
    | {
        /** A disk image or block device of the host. */
        readonly block: string;
        /** Found out where it can be. */
        readonly format?: "raw" | "qcow2";
        readonly fstype?: string;
        readonly access?: "copy-on-write" | "readonly" | "shared";
      };
  /** The program and its arguments. */
  readonly command: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** The working directory; "/" by default. */
  readonly cwd?: string;
  /** Root by default. By name it also has the groups that /etc/group lists it in. */
  readonly user?: UserOptions;
  /** Permission bits that new files do not get; 0o022 by default. */
  readonly umask?: number;
  /** A terminal in place of three streams; `false` by default. */
  readonly tty?: boolean;
  /** The terminal's size at first. */
  readonly ttySize?: TtySize;
  /** What `stop` sends first; SIGTERM by default. */
  readonly stopSignal?: NodeJS.Signals | number;
  /** A small safe set by default. */
  readonly capabilities?: CapabilityOptions;
  /** Whether set-user-id programs and file capabilities are without effect; `true` by default. */
  readonly noNewPrivileges?: boolean;
  /** The engine's profile by default, where the guest supports seccomp. */
  readonly seccomp?: SeccompOptions;
  /** `{ nofile: { soft: 1024, hard: 4096 } }` by default; given, it is all of them. */
  readonly rlimits?: RlimitOptions;
  /** How soon the kernel ends it when memory runs out, 0 to 1000; 0 by default. */
  readonly oomScoreAdj?: number;
  /** Paths that the container cannot read; those of the kernel that tell of the VM by default. */
  readonly maskedPaths?: readonly string[];
  /** Paths that the container cannot write; those of the kernel that change the VM by default. */
  readonly readonlyPaths?: readonly string[];
  /** Kernel parameters of the container's own, `{ "kernel.msgmax": "65536" }`. */
  readonly sysctl?: Readonly<Record<string, string>>;
  readonly hostname?: string;
  /** Host directories and files, named volumes, tmpfs and disks, visible in the container while it exists. */
  readonly mounts?: readonly ContainerMount[];
  /** Block devices and disk images of the host, plugged in as disks; the container gets a device node of each. */
  readonly devices?: readonly ContainerDevice[];
  /** Nodes of devices of the guest's kernel. */
  readonly deviceNodes?: readonly DeviceNodeOptions[];
  /** The size of /dev/shm; 64 MiB by default. */
  readonly shmSize?: string | number;
  /** Limits of the container, for which the VM grows while it lives. */
  readonly resources?: ResourceOptions;
  readonly annotations?: Readonly<Record<string, string>>;
  /** Programs of the host that run beside the container's life, as the OCI runtime specification (1.1) has them. */
  readonly hooks?: OciHooksOptions;
}

/**
 * A directory with an OCI `config.json` and the root file system that it names, in place of `rootfs` and `command`. Every option beside it takes the place
 * of what it says (`env` and `annotations` name by name). Field by field: the guest makes the namespaces, the cgroup, /proc, /sys and /dev itself; limits
 * make the VM grow; bind mounts are shared with it; the root file system is copied on write unless it is read-only. What cannot be carried into a VM is
 * refused by its name.
 */
export type BundleOptions = Partial<ContainerOptions> & { readonly bundle: string };

/**
 * Each phase's hooks run in order and get the container's state as JSON on stdin. `prestart` and then `createRuntime` run while the container
 * is created (and when one that had stopped is started again): one that fails makes that fail, and it rolls back. `poststart` runs when its
 * process has been started, `poststop` when the container has been removed from the VM, also by a rollback or by `gc`: one that fails is
 * logged. `poststop` hooks together have 80 % of a release's deadline, 8 s by default, whatever their own timeouts.
 */
export interface OciHooksOptions {
  readonly prestart?: readonly OciHookOptions[];
  readonly createRuntime?: readonly OciHookOptions[];
  readonly poststart?: readonly OciHookOptions[];
  readonly poststop?: readonly OciHookOptions[];
}

export interface OciHookOptions {
  /** An absolute path of the host. */
  readonly path: string;
  /** As for `execv`: the first word is the name the program sees itself called by; the path alone by default. */
  readonly args?: readonly string[];
  /** `NAME=value` each: exactly what the program gets, nothing of the script's own. Empty by default. */
  readonly env?: readonly string[];
  /** Whole seconds until it is killed with its process group; 30 by default. */
  readonly timeout?: number;
}

/** A validated container configuration: plain data, kept in its sandbox's record. */
export interface ContainerConfig {
  readonly id: string;
  readonly rootfs: { readonly source: RootfsSource; readonly access: RootfsIntent["access"] };
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  readonly user: UserConfig;
  readonly umask?: number | undefined;
  readonly tty: boolean;
  readonly ttySize?: TtySize | undefined;
  readonly stopSignal: NodeJS.Signals | number;
  readonly capabilities: OciCapabilities;
  readonly noNewPrivileges: boolean;
  readonly seccomp: SeccompOptions;
  readonly rlimits: NonNullable<OciProcess["rlimits"]>;
  readonly oomScoreAdj?: number | undefined;
  readonly maskedPaths: readonly string[];
  readonly readonlyPaths: readonly string[];
  readonly sysctl: Readonly<Record<string, string>>;
  readonly deviceNodes: readonly OciDevice[];
  readonly hostname?: string | undefined;
  readonly mounts: readonly MountConfig[];
  readonly devices: readonly DeviceConfig[];
  readonly shmBytes: Bytes;
  readonly resources: ResourceConfig;
  readonly annotations: Readonly<Record<string, string>>;
  readonly hooks?: Readonly<Partial<Record<OciHookPhase, readonly OciHook[]>>> | undefined;
}

export interface OciHook {
  readonly path: string;
  readonly args: readonly string[];
  readonly env: readonly string[];
  /** Seconds. */
  readonly timeout?: number | undefined;
}

export type OciHookPhase = keyof OciHooksOptions;

const LONGEST_HOOK_SECONDS = 3600;

/** As Docker and Kata have it. */
const DEFAULT_SHM_BYTES = 64 * MiB;

const DEFAULT_ENV = { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" };

/** What of the kernel tells a container about the VM. */
const MASKED_PATHS = [
  "/proc/acpi",
  "/proc/kcore",
  "/proc/keys",
  "/proc/latency_stats",
  "/proc/timer_list",
  "/proc/sched_debug",
  "/proc/scsi",
  "/sys/firmware",
];
/** What of the kernel changes the VM. */
const READONLY_PATHS = ["/proc/asound", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

const access = z.enum(["copy-on-write", "readonly", "shared"], 'wanted "copy-on-write", "readonly" or "shared"').default("copy-on-write");

const rootfs = z.union(
  [
    pathText.transform((path) => ({
      source: { kind: "directory", path: resolve(path) } as RootfsSource,
      access: "copy-on-write" as const,
    })),
    z
      .strictObject({ directory: pathText, access })
      .transform((given) => ({ source: { kind: "directory", path: resolve(given.directory) } as RootfsSource, access: given.access })),
    z
      .strictObject({ image: textSchema, access })
      .transform((given) => ({ source: { kind: "image", reference: given.image } as RootfsSource, access: given.access })),
    z
      .strictObject({
        block: pathText,
        access,
        format: diskFormat.optional(),
        fstype: filesystem.optional(),
      })
      .transform(({ block, access, format, fstype }) => ({
        source: { kind: "block", path: resolve(block), format, fstype } as RootfsSource,
        access,
      })),
  ],
  "wanted a directory's path, or one of { directory }, { image }, { block }",
);

const ociHooks = z
  .array(
    z.strictObject({
      path: pathText
        .refine(isAbsolute, "wanted an absolute path of the host")
        .refine(isExecutable, "wanted a file that exists and can be executed"),
      args: z.array(wordSchema).default([]),
      env: z.array(z.string("wanted text").regex(/^[^=\0]+=[^\0]*$/, 'wanted "NAME=value"')).default([]),
      timeout: z
        .int("wanted whole seconds")
        .min(1, "wanted 1 or more seconds")
        .max(LONGEST_HOOK_SECONDS, `wanted at most ${LONGEST_HOOK_SECONDS} seconds`)
        .optional(),
    }),
    "wanted a list of hooks",
  )
  .optional();

const schema = z
  .strictObject({
    id: idSchema.optional(),
    rootfs,
    command: argvSchema('["sh", "-c", "…"]'),
    env: z
      .record(
        z.string().regex(/^[^=\0]+$/, 'wanted a name without "="'),
        z.string().refine((text) => !text.includes("\0"), "wanted text without NUL"),
      )
      .default({}),
    cwd: guestPath.default("/"),
    ...processFields,
    capabilities: capabilitiesSchema,
    seccomp: seccompSchema,
    maskedPaths: z.array(guestPath, "wanted a list of paths").default(MASKED_PATHS),
    readonlyPaths: z.array(guestPath, "wanted a list of paths").default(READONLY_PATHS),
    sysctl: sysctlSchema,
    deviceNodes: deviceNodesSchema,
    hostname: textSchema.max(64, "wanted at most 64 characters").optional(),
    mounts: mountsSchema,
    devices: devicesSchema,
    shmSize: bytesSchema.optional(),
    resources: resourcesSchema,
    annotations: z.record(z.string(), textSchema).default({}),
    hooks: z.strictObject({ prestart: ociHooks, createRuntime: ociHooks, poststart: ociHooks, poststop: ociHooks }).optional(),
  })
  .refine(
    ({ mounts, devices, deviceNodes }) => {
      const targets = [...[...mounts, ...devices].map(({ target }) => target), ...deviceNodes.map(({ path }) => path)];
      return new Set(targets).size === targets.length;
    },
    { message: "wanted a different target for each mount and device", path: ["mounts"] },
  )
  .refine(({ tty, ttySize }) => tty || ttySize === undefined, { message: "wanted tty: true with it", path: ["ttySize"] });

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/** The options in the short form, with all that a bundle says. @throws INVALID_INPUT naming the field, of config.json too. */
export function shortForm(options: ContainerOptions | BundleOptions): ContainerOptions {
  return expandBundle(options, configOf);
}

/** The configuration a script's options stand for; relative host paths are of the working directory. @throws INVALID_INPUT naming the field. */
export function containerConfig(options: unknown): ContainerConfig {
  return configOf(shortForm(options as ContainerOptions));
}

function configOf(options: unknown): ContainerConfig {
  const { resources, env, shmSize, ...given } = validate(schema, options, "container");
  const config = {
    ...given,
    id: given.id ?? newId("c"),
    env: { ...DEFAULT_ENV, ...env },
    shmBytes: (shmSize ?? DEFAULT_SHM_BYTES) as Bytes,
    resources: resourceConfig(resources),
  } as ContainerConfig;
  checkReservation(config.resources);
  return config;
}
