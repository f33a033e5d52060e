import { z } from "zod";
import { ociSeccompSchema } from "../seccomp-config.ts";
import { pathText } from "../validate.ts";

/**
 * An OCI runtime configuration (1.0 to 1.2) as far as the engine carries it. What it cannot carry may be there when it says nothing (an empty list say);
 * what it does not know is refused, since to pass over it would be to drop it.
 */
export type OciConfig = z.output<typeof ociConfigSchema>;

const text = z.string("wanted text");
const whole = z.int("wanted a whole number");
/** Up to 2^64, which is not exact in JavaScript. */
const unsigned = z.number("wanted a number").min(0, "wanted 0 or more");
const flag = z.boolean("wanted true or false").default(false);
const listOf = <T extends z.ZodType>(each: T) => z.array(each, "wanted a list").optional();

/** A property that the engine has nothing for. */
function none(why: string) {
  return z.unknown().refine(saysNothing, `wanted none: ${why}`).optional();
}

function saysNothing(value: unknown): boolean {
  if (value === undefined || value === null || value === "" || value === 0 || value === false) return true;
  return typeof value === "object" && Object.values(value).every(saysNothing);
}

const OTHER_SYSTEM = "it is for another operating system";
const NO_LSM = "the guest's kernel has no such security module";
const GUEST_ONLY = "the guest has nothing for it";

const names = listOf(text);

const process = z.strictObject(
  {
    terminal: flag,
    consoleSize: z.strictObject({ height: whole, width: whole }).optional(),
    user: z.strictObject({
      uid: whole,
      gid: whole,
      umask: whole.optional(),
      additionalGids: listOf(whole),
      username: none(OTHER_SYSTEM),
    }),
    args: z.array(text, 'wanted a list of words such as ["sh"]').min(1, "wanted at least the program's name"),
    commandLine: none(OTHER_SYSTEM),
    env: listOf(text.regex(/^[^=\0]+=/, 'wanted "NAME=value"')),
    cwd: text,
    capabilities: z.strictObject({ bounding: names, effective: names, inheritable: names, permitted: names, ambient: names }).optional(),
    rlimits: listOf(
      z.strictObject({ type: text.regex(/^RLIMIT_[A-Z]+$/, 'wanted a name such as "RLIMIT_NOFILE"'), soft: unsigned, hard: unsigned }),
    ),
    noNewPrivileges: flag,
    oomScoreAdj: whole.optional(),
    apparmorProfile: none(NO_LSM),
    selinuxLabel: none(NO_LSM),
    scheduler: none(GUEST_ONLY),
    ioPriority: none(GUEST_ONLY),
    execCPUAffinity: none(GUEST_ONLY),
  },
  "wanted the container's process",
);

const mount = z.strictObject({
  destination: text,
  type: text.optional(),
  source: text.optional(),
  options: names,
  uidMappings: none("the containers of a sandbox have no user namespaces"),
  gidMappings: none("the containers of a sandbox have no user namespaces"),
});

const hooks = listOf(z.strictObject({ path: text, args: names, env: names, timeout: whole.optional() }));
const IN_GUEST = "it would run in the container's namespaces, which are in the guest, where the host's programs are not";

const memory = z.strictObject({
  limit: whole.optional(),
  reservation: whole.optional(),
  swap: whole.optional(),
  kernel: none("the kernel no longer limits it by itself"),
  kernelTCP: none("the kernel no longer limits it by itself"),
  swappiness: none(GUEST_ONLY),
  disableOOMKiller: none("the guest would stand still"),
  useHierarchy: z.boolean().optional(), // cgroups v2 know nothing else
  checkBeforeUpdate: z.boolean().optional(), // of an update only
});

const cpu = z.strictObject({
  shares: whole.optional(),
  quota: whole.optional(),
  period: whole.optional(),
  cpus: text.optional(),
  mems: none("the guest has one memory node"),
  burst: none(GUEST_ONLY),
  realtimeRuntime: none(GUEST_ONLY),
  realtimePeriod: none(GUEST_ONLY),
  idle: none(GUEST_ONLY),
});

const deviceRule = z.strictObject({
  allow: z.boolean("wanted true or false"),
  type: z.enum(["a", "b", "c"], 'wanted "a", "b" or "c"').optional(),
  major: whole.nullish(),
  minor: whole.nullish(),
  access: text.regex(/^[rwm]*$/, 'wanted some of "rwm"').optional(),
});

const resources = z.strictObject({
  devices: listOf(deviceRule),
  memory: memory.optional(),
  cpu: cpu.optional(),
  pids: z.strictObject({ limit: whole }).optional(),
  hugepageLimits: listOf(z.strictObject({ pageSize: text, limit: unsigned })),
  blockIO: none(GUEST_ONLY),
  network: none(GUEST_ONLY),
  rdma: none(GUEST_ONLY),
  unified: none(GUEST_ONLY),
});

/** The guest makes these for every container; the others it has not. */
const namespace = z.strictObject({
  type: z.enum(["pid", "network", "ipc", "uts", "mount", "cgroup"], "wanted pid, network, ipc, uts, mount or cgroup"),
  path: none("there is nothing of the host to be joined in a VM"),
});

const device = z.strictObject({
  path: text,
  type: text,
  major: whole.default(0),
  minor: whole.default(0),
  fileMode: whole.optional(),
  uid: whole.optional(),
  gid: whole.optional(),
});

const linux = z.strictObject({
  namespaces: listOf(namespace),
  uidMappings: none("the containers of a sandbox have no user namespaces"),
  gidMappings: none("the containers of a sandbox have no user namespaces"),
  timeOffsets: none("the containers of a sandbox have no time namespaces"),
  devices: listOf(device),
  cgroupsPath: text.optional(), // the guest has a place of its own for each container
  resources: resources.optional(),
  sysctl: z.record(z.string(), text).optional(),
  seccomp: ociSeccompSchema.nullish(),
  rootfsPropagation: z.enum(["", "private", "rprivate"], 'wanted "private": nothing is mounted beside the container').optional(),
  maskedPaths: names,
  readonlyPaths: names,
  mountLabel: none(NO_LSM),
  intelRdt: none(GUEST_ONLY),
  memoryPolicy: none(GUEST_ONLY),
  netDevices: none(GUEST_ONLY),
  personality: none(GUEST_ONLY),
});

export const ociConfigSchema = z.strictObject(
  {
    ociVersion: text.regex(/^1\.[0-2]\.\d+/, 'wanted "1.0.x", "1.1.x" or "1.2.x"'),
    process,
    root: z.strictObject({ path: pathText, readonly: flag }, "wanted the root file system"),
    hostname: text.optional(),
    domainname: text.optional(),
    mounts: listOf(mount),
    hooks: z
      .strictObject({
        prestart: hooks,
        createRuntime: hooks,
        createContainer: none(IN_GUEST),
        startContainer: none(IN_GUEST),
        poststart: hooks,
        poststop: hooks,
      })
      .optional(),
    annotations: z.record(z.string(), text).optional(),
    linux: linux.optional(),
    solaris: none(OTHER_SYSTEM),
    windows: none(OTHER_SYSTEM),
    freebsd: none(OTHER_SYSTEM),
    zos: none(OTHER_SYSTEM),
    vm: none("the sandbox is the virtual machine"),
  },
  "wanted an object",
);
