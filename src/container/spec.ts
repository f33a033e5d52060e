import type { ContainerConfig } from "../config/container-config.ts";
import type { GuestStorage } from "../contracts/agent.ts";
import type { ShareEntry, ShareGrant } from "../contracts/hypervisor.ts";
import type { OciMount, OciSpec } from "../contracts/oci.ts";
import { guestRootfsOf, guestShareOf } from "../sandbox/paths.ts";

/** The capabilities Docker gives by default less those that reach past a container: a safe set for programs that run as root. */
const CAPABILITIES = [
  "CAP_CHOWN",
  "CAP_DAC_OVERRIDE",
  "CAP_FSETID",
  "CAP_FOWNER",
  "CAP_KILL",
  "CAP_SETGID",
  "CAP_SETUID",
  "CAP_SETPCAP",
  "CAP_NET_BIND_SERVICE",
  "CAP_SYS_CHROOT",
  "CAP_SETFCAP",
];

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
const READONLY_PATHS = ["/proc/asound", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

const SYSTEM_MOUNTS: readonly OciMount[] = [
  { destination: "/proc", type: "proc", source: "proc", options: ["nosuid", "noexec", "nodev"] },
  { destination: "/dev", type: "tmpfs", source: "tmpfs", options: ["nosuid", "strictatime", "mode=755", "size=65536k"] },
  { destination: "/dev/pts", type: "devpts", source: "devpts", options: ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"] },
  { destination: "/dev/shm", type: "tmpfs", source: "shm", options: ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"] },
  { destination: "/dev/mqueue", type: "mqueue", source: "mqueue", options: ["nosuid", "noexec", "nodev"] },
  { destination: "/sys", type: "sysfs", source: "sysfs", options: ["nosuid", "noexec", "nodev", "ro"] },
];

/** The period of a CPU quota, microseconds: the kernel's own default. */
const CPU_PERIOD = 100_000;

/** The entries of a container's share: its rootfs, then its mounts in order. */
export function shareEntries(config: ContainerConfig, rootfs: string, mountTypes: readonly ShareEntry["type"][]): ShareEntry[] {
  return [
    { name: "rootfs", source: rootfs, type: "directory", readonly: config.rootfs.access !== "shared" },
    ...config.mounts.map(({ source, readonly }, index) => ({
      name: mountName(index),
      source,
      type: mountTypes[index] ?? "directory",
      readonly,
    })),
  ];
}

function mountName(index: number): string {
  return `mount-${index}`;
}

/**
 * The file systems the guest mounts before the container starts: the share, and over its rootfs a layer of the container's own unless the
 * host's files themselves are to be written.
 */
export function guestStorages(config: ContainerConfig, share: ShareGrant): GuestStorage[] {
  const mountPoint = guestShareOf(config.id);
  const shared: GuestStorage = {
    driver: share.guest.driver,
    source: share.guest.source,
    fstype: share.guest.fstype,
    options: [],
    mountPoint,
  };
  if (config.rootfs.access === "shared") return [shared];
  const layer = `/run/kata-containers/${config.id}/layer`;
  const options = [`lowerdir=${mountPoint}/rootfs`, `upperdir=${layer}/upper`, `workdir=${layer}/work`];
  return [shared, { driver: "overlayfs", source: "overlay", fstype: "overlay", options, mountPoint: guestRootfsOf(config.id) }];
}

/**
 * The OCI runtime specification (1.1) of a container, constrained for a guest as Kata's is: no network, cgroup or pid namespace and no path
 * of the host, since the agent makes those; host files are named by where the guest has them.
 */
export function guestSpec(config: ContainerConfig, sandboxHostname: string): OciSpec {
  const set = CAPABILITIES;
  const access = config.rootfs.access;
  return {
    ociVersion: "1.1.0",
    hostname: config.hostname ?? sandboxHostname,
    root: { path: access === "shared" ? `${guestShareOf(config.id)}/rootfs` : guestRootfsOf(config.id), readonly: access === "readonly" },
    process: {
      terminal: false,
      user: config.user,
      args: config.command,
      env: Object.entries(config.env).map(([name, value]) => `${name}=${value}`),
      cwd: config.cwd,
      capabilities: { bounding: set, effective: set, permitted: set, inheritable: [], ambient: [] },
      rlimits: [{ type: "RLIMIT_NOFILE", soft: 1024, hard: 4096 }],
      noNewPrivileges: true,
    },
    mounts: [...SYSTEM_MOUNTS, ...config.mounts.map((mount, index) => bindMount(config.id, mount, index))],
    annotations: config.annotations,
    linux: {
      namespaces: [{ type: "ipc" }, { type: "uts" }, { type: "mount" }],
      maskedPaths: MASKED_PATHS,
      readonlyPaths: READONLY_PATHS,
      cgroupsPath: `/tapvisor/${config.id}`,
      resources: resourcesOf(config),
    },
  };
}

/** The same container in terms of the host, for the bundle of its OCI hooks: where its files really lie, and the hooks themselves. */
export function hostSpec(config: ContainerConfig, rootfs: string, sandboxHostname: string): OciSpec & Pick<ContainerConfig, "hooks"> {
  const spec = guestSpec(config, sandboxHostname);
  const mounts = config.mounts.map((mount, index) => ({ ...bindMount(config.id, mount, index), source: mount.source }));
  return { ...spec, root: { ...spec.root, path: rootfs }, mounts: [...SYSTEM_MOUNTS, ...mounts], hooks: config.hooks };
}

function bindMount(container: string, mount: ContainerConfig["mounts"][number], index: number): OciMount {
  const options = ["rbind", "rprivate", mount.readonly ? "ro" : "rw"];
  return { destination: mount.target, type: "bind", source: `${guestShareOf(container)}/${mountName(index)}`, options };
}

function resourcesOf({ resources }: ContainerConfig): NonNullable<OciSpec["linux"]["resources"]> {
  const { vcpus, memoryBytes } = resources;
  return {
    ...(memoryBytes === undefined ? {} : { memory: { limit: memoryBytes } }),
    ...(vcpus === undefined ? {} : { cpu: { quota: Math.round(vcpus * CPU_PERIOD), period: CPU_PERIOD } }),
    devices: [{ allow: false, access: "rwm" }],
  };
}
