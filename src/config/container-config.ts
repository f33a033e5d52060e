import { accessSync, constants, statSync } from "node:fs";
import { isAbsolute, normalize, resolve } from "node:path";
import { z } from "zod";
import { newId } from "../base/ids.ts";
import type { Bytes } from "../base/units.ts";
import type { RootfsIntent, RootfsSource } from "../contracts/rootfs.ts";
import { bytesSchema, idSchema, textSchema, validate } from "./validate.ts";

/** What a script asks of a new container. */
export interface ContainerOptions {
  /** Its name, unique in the sandbox; made up when absent. */
  readonly id?: string;
  /** A directory of the host; an object for the other kinds and for how it is written to. */
  readonly rootfs:
    | string
    | { readonly directory: string; readonly access?: "copy-on-write" | "readonly" | "shared" }
    | { readonly image: string; readonly access?: "copy-on-write" | "readonly" }
    | { readonly block: string; readonly access?: "copy-on-write" | "readonly" | "shared" };
  /** The program and its arguments. */
  readonly command: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** The working directory; "/" by default. */
  readonly cwd?: string;
  /** Numeric ids; root by default. */
  readonly user?: { readonly uid: number; readonly gid?: number; readonly additionalGids?: readonly number[] };
  readonly hostname?: string;
  /** Host directories and files, visible in the container while it exists. */
  readonly mounts?: readonly ContainerMount[];
  /** Limits of the container. */
  readonly resources?: { readonly vcpus?: number; readonly memory?: string | number };
  readonly annotations?: Readonly<Record<string, string>>;
  /** Programs of the host that run beside the container's life, as the OCI runtime specification (1.1) has them. */
  readonly hooks?: OciHooksOptions;
}

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

export interface ContainerMount {
  /** A directory or file of the host. */
  readonly source: string;
  /** An absolute path in the container. */
  readonly target: string;
  /** `false` by default: the container writes to the host's files. */
  readonly readonly?: boolean;
}

/** A validated container configuration: plain data, kept in its sandbox's record. */
export interface ContainerConfig {
  readonly id: string;
  readonly rootfs: { readonly source: RootfsSource; readonly access: RootfsIntent["access"] };
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  readonly user: { readonly uid: number; readonly gid: number; readonly additionalGids: readonly number[] };
  readonly hostname?: string | undefined;
  readonly mounts: readonly { readonly source: string; readonly target: string; readonly readonly: boolean }[];
  readonly resources: { readonly vcpus?: number | undefined; readonly memoryBytes?: Bytes | undefined };
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

const DEFAULT_ENV = { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" };

const pathText = z
  .string("wanted a path")
  .min(1, "wanted a path")
  .max(4095, "wanted a path of at most 4095 bytes")
  .refine((path) => !path.includes("\0"), "wanted a path without NUL");
const guestPath = pathText
  .refine(isAbsolute, "wanted an absolute path in the container")
  .refine((path) => !path.split("/").includes(".."), 'wanted a path without ".."')
  .transform((path) => normalize(path).replace(/(.)\/$/, "$1"));
const numericId = z
  .int("wanted a number")
  .min(0, "wanted 0 or more")
  .max(2 ** 31 - 1, "wanted at most 2147483647");
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
      .strictObject({ block: pathText, access })
      .transform((given) => ({ source: { kind: "block", path: resolve(given.block) } as RootfsSource, access: given.access })),
  ],
  "wanted a directory's path, or one of { directory }, { image }, { block }",
);

const ociHooks = z
  .array(
    z.strictObject({
      path: pathText
        .refine(isAbsolute, "wanted an absolute path of the host")
        .refine(isExecutable, "wanted a file that exists and can be executed"),
      args: z.array(z.string("wanted text").refine((word) => !word.includes("\0"), "wanted text without NUL")).default([]),
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

const schema = z.strictObject({
  id: idSchema.optional(),
  rootfs,
  command: z
    .array(
      z.string("wanted text").refine((word) => !word.includes("\0"), "wanted text without NUL"),
      'wanted a list of words such as ["sh", "-c", "…"]',
    )
    .min(1, "wanted at least the program's name")
    .refine((words) => words[0] !== "", "wanted a program's name first"),
  env: z
    .record(
      z.string().regex(/^[^=\0]+$/, 'wanted a name without "="'),
      z.string().refine((text) => !text.includes("\0"), "wanted text without NUL"),
    )
    .default({}),
  cwd: guestPath.default("/"),
  user: z
    .strictObject({ uid: numericId, gid: numericId.optional(), additionalGids: z.array(numericId).default([]) })
    .transform((user) => ({ uid: user.uid, gid: user.gid ?? user.uid, additionalGids: user.additionalGids }))
    .default({ uid: 0, gid: 0, additionalGids: [] }),
  hostname: textSchema.max(64, "wanted at most 64 characters").optional(),
  mounts: z
    .array(
      z.strictObject({
        source: pathText.transform((path) => resolve(path)),
        target: guestPath.refine((path) => path !== "/", 'wanted a path below "/": the rootfs is there'),
        readonly: z.boolean("wanted true or false").default(false),
      }),
    )
    .refine((mounts) => new Set(mounts.map((mount) => mount.target)).size === mounts.length, "wanted a different target for each mount")
    .default([]),
  resources: z
    .strictObject({ vcpus: z.number().positive("wanted more than 0").max(64).optional(), memory: bytesSchema.optional() })
    .default({}),
  annotations: z.record(z.string(), textSchema).default({}),
  hooks: z.strictObject({ prestart: ociHooks, createRuntime: ociHooks, poststart: ociHooks, poststop: ociHooks }).optional(),
});

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/** The configuration a script's options stand for; relative host paths are of the working directory. @throws INVALID_INPUT naming the field. */
export function containerConfig(options: unknown): ContainerConfig {
  const { resources, env, ...given } = validate(schema, options, "container");
  return {
    ...given,
    id: given.id ?? newId("c"),
    env: { ...DEFAULT_ENV, ...env },
    resources: { vcpus: resources.vcpus, memoryBytes: resources.memory as Bytes | undefined },
  } as ContainerConfig;
}
