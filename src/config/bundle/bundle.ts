import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { isTapvisorError, messageOf, TapvisorError } from "../../base/errors.ts";
import type { BundleOptions, ContainerOptions } from "../container-config.ts";
import { issueField, pathText, validate } from "../validate.ts";
import { bundleNodes } from "./devices.ts";
import { bundleMounts } from "./mounts.ts";
import { type Refuse, refuser } from "./refuse.ts";
import { bundleResources } from "./resources.ts";
import { type OciConfig, ociConfigSchema } from "./schema.ts";

/**
 * The short form of what an OCI bundle says, with what is given beside it in its place: `env` and `annotations` name by name, every other option as a
 * whole. Options without a bundle are answered as they are.
 * @throws INVALID_INPUT naming the field of config.json that is wrong, or that has no counterpart in a VM.
 */
export function expandBundle(options: ContainerOptions | BundleOptions, check: (short: ContainerOptions) => unknown): ContainerOptions {
  if (!isBundle(options)) return options as ContainerOptions;
  const { bundle, ...beside } = options;
  const directory = resolve(validate(pathText, bundle, "container.bundle"));
  const { config, refuse } = readConfig(join(directory, "config.json"));
  const said = shortForm(config, refuse, directory);
  const over = Object.fromEntries(Object.entries(beside).filter(([, value]) => value !== undefined));
  const short: ContainerOptions = {
    ...said,
    ...over,
    env: { ...said.env, ...beside.env },
    annotations: { ...said.annotations, ...beside.annotations },
  };
  try {
    check(short);
  } catch (error) {
    throw isTapvisorError(error) && error.code === "INVALID_INPUT" ? inConfigJson(error, over, refuse) : error;
  }
  return short;
}

/** What the options of the short form are in config.json; those whose parts have the same names there end with a dot. */
const FIELDS: Readonly<Record<string, string>> = {
  rootfs: "root",
  command: "process.args.",
  env: "process.env",
  cwd: "process.cwd",
  user: "process.user.",
  umask: "process.user.umask",
  ttySize: "process.consoleSize",
  capabilities: "process.capabilities.",
  rlimits: "process.rlimits",
  oomScoreAdj: "process.oomScoreAdj",
  hostname: "hostname",
  mounts: "mounts",
  shmSize: "mounts",
  deviceNodes: "linux.devices",
  resources: "linux.resources",
  sysctl: "linux.sysctl.",
  seccomp: "linux.seccomp.",
  maskedPaths: "linux.maskedPaths.",
  readonlyPaths: "linux.readonlyPaths.",
  annotations: "annotations.",
  hooks: "hooks.",
};

/** A complaint about an option in terms of the configuration, unless the option stands beside it. */
function inConfigJson(error: TapvisorError<"INVALID_INPUT">, over: object, refuse: Refuse): TapvisorError<"INVALID_INPUT"> {
  const { path, value, wanted } = error.data;
  const [option = "", ...rest] = path.split(".");
  const field = FIELDS[option];
  if (field === undefined || Object.hasOwn(over, option)) return error;
  return refuse(field.endsWith(".") ? [field.slice(0, -1), ...rest].join(".") : field, wanted.replace(/^wanted /, ""), value);
}

function isBundle(options: unknown): options is BundleOptions {
  return typeof options === "object" && options !== null && Reflect.get(options, "bundle") !== undefined;
}

function readConfig(file: string): { readonly config: OciConfig; readonly refuse: Refuse } {
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(file, "utf8"));
  } catch (error) {
    const wanted = "a directory with an OCI config.json";
    throw new TapvisorError(
      "INVALID_INPUT",
      `Cannot use the bundle: ${file} cannot be read as JSON (${messageOf(error)}), wanted ${wanted}`,
      {
        data: { path: "bundle", value: file, wanted },
      },
    );
  }
  const refuse = refuser(file, json);
  const parsed = ociConfigSchema.safeParse(json);
  if (parsed.success) return { config: parsed.data, refuse };
  const issue = parsed.error.issues[0];
  const wanted = issue?.code === "unrecognized_keys" ? "none: the engine does not know it" : (issue?.message ?? "").replace(/^wanted /, "");
  throw refuse(issueField(issue), wanted);
}

function shortForm(config: OciConfig, refuse: Refuse, directory: string): ContainerOptions {
  const { root, process, hostname, domainname, mounts = [], hooks, annotations = {}, linux = {} } = config;
  const { umask, uid, gid, additionalGids = [] } = process.user;
  const { bounding = [], effective = [], inheritable = [], permitted = [], ambient = [] } = process.capabilities ?? {};
  const { createContainer: _, startContainer: __, ...onHost } = hooks ?? {};
  const sysctl = { ...linux.sysctl, ...(domainname && { "kernel.domainname": domainname }) };
  return {
    rootfs: { directory: resolve(directory, root.path), access: root.readonly ? "readonly" : "copy-on-write" },
    command: process.args,
    env: Object.fromEntries((process.env ?? []).map((entry) => entry.split(/=(.*)/s, 2))),
    cwd: process.cwd,
    user: { uid, gid, additionalGids },
    ...(umask !== undefined && { umask }),
    tty: process.terminal,
    ...(process.terminal && process.consoleSize && { ttySize: { rows: process.consoleSize.height, columns: process.consoleSize.width } }),
    capabilities: { bounding, effective, inheritable, permitted, ambient },
    noNewPrivileges: process.noNewPrivileges,
    rlimits: Object.fromEntries(
      (process.rlimits ?? []).map(({ type, soft, hard }) => [rlimitName(type), { soft: most(soft), hard: most(hard) }]),
    ),
    ...(process.oomScoreAdj !== undefined && { oomScoreAdj: process.oomScoreAdj }),
    ...(hostname && { hostname }),
    ...bundleMounts(mounts, directory, refuse),
    deviceNodes: bundleNodes(linux, refuse),
    resources: bundleResources(linux.resources ?? {}, refuse),
    sysctl,
    seccomp: linux.seccomp ?? "unconfined",
    maskedPaths: linux.maskedPaths ?? [],
    readonlyPaths: linux.readonlyPaths ?? [],
    annotations,
    ...(hooks && { hooks: onHost }),
  } as ContainerOptions;
}

function rlimitName(type: string): string {
  return type.slice("RLIMIT_".length).toLowerCase();
}

/** RLIM_INFINITY is 2^64 - 1, which JSON.parse makes 2^64 of. */
function most(limit: number): number | "unlimited" {
  return limit >= 2 ** 63 ? "unlimited" : limit;
}
