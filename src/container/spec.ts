import { KiB } from "../base/units.ts";
import type { ContainerConfig } from "../config/container-config.ts";
import type { MountConfig } from "../config/mounts-config.ts";
import type { OciDevice, OciMount, OciResources, OciSeccomp, OciSpec } from "../contracts/oci.ts";
import type { RootfsGrant } from "../contracts/rootfs.ts";
import { ociResources } from "../resource/plan.ts";
import { guestRootfsOf } from "../sandbox/paths.ts";
import { processSpec } from "./process-spec.ts";
import { guestMountSource, plainRootfsOf } from "./storages.ts";

const SYSTEM_MOUNTS: readonly OciMount[] = [
  { destination: "/proc", type: "proc", source: "proc", options: ["nosuid", "noexec", "nodev"] },
  { destination: "/dev", type: "tmpfs", source: "tmpfs", options: ["nosuid", "strictatime", "mode=755", "size=65536k"] },
  { destination: "/dev/pts", type: "devpts", source: "devpts", options: ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"] },
  { destination: "/dev/mqueue", type: "mqueue", source: "mqueue", options: ["nosuid", "noexec", "nodev"] },
  { destination: "/sys", type: "sysfs", source: "sysfs", options: ["nosuid", "noexec", "nodev", "ro"] },
  // Programs that size themselves by their limits look here: a JVM, Go, Node.
  { destination: "/sys/fs/cgroup", type: "cgroup", source: "cgroup", options: ["nosuid", "noexec", "nodev", "relatime", "ro"] },
];

/** What of a container only its sandbox tells. */
export interface GuestParts {
  /** Absent where there is none. */
  readonly seccomp?: OciSeccomp | undefined;
  /** The mounts that have become devices. */
  readonly asDevices?: ReadonlySet<number>;
}

/**
 * The OCI runtime specification (1.1) of a container, constrained for a guest as Kata's is: no network, cgroup or pid namespace and no path
 * of the host, since the agent makes those; host files are named by where the guest has them.
 */
export function guestSpec(
  config: ContainerConfig,
  sandboxHostname: string,
  rootfs: RootfsGrant,
  { seccomp, asDevices = new Set() }: GuestParts = {},
): OciSpec {
  const access = config.rootfs.access;
  const root = access === "shared" ? plainRootfsOf(config.id, rootfs) : guestRootfsOf(config.id);
  return {
    ociVersion: "1.1.0",
    hostname: config.hostname ?? sandboxHostname,
    root: { path: root, readonly: access === "readonly" },
    process: processSpec(config),
    mounts: [
      ...SYSTEM_MOUNTS,
      shm(config),
      ...config.mounts.flatMap((mount, index) => (asDevices.has(index) ? [] : guestMount(config.id, mount, index))),
    ],
    annotations: config.annotations,
    linux: {
      namespaces: [{ type: "ipc" }, { type: "uts" }, { type: "mount" }],
      maskedPaths: config.maskedPaths,
      readonlyPaths: config.readonlyPaths,
      cgroupsPath: `/tapvisor/${config.id}`,
      resources: { ...ociResources(config.resources), devices: [{ allow: false, access: "rwm" }, ...config.deviceNodes.map(allowed)] },
      ...(config.deviceNodes.length > 0 && { devices: config.deviceNodes }),
      ...(Object.keys(config.sysctl).length > 0 && { sysctl: config.sysctl }),
      ...(seccomp && { seccomp }),
    },
  };
}

/** The same container in terms of the host, for the bundle of its OCI hooks: where its files really lie, and the hooks themselves. */
export function hostSpec(config: ContainerConfig, rootfs: RootfsGrant, sandboxHostname: string): OciSpec & Pick<ContainerConfig, "hooks"> {
  const spec = guestSpec(config, sandboxHostname, rootfs);
  const path = rootfs.type === "share" ? rootfs.directory : rootfs.path;
  const mounts = config.mounts.flatMap((mount, index) =>
    guestMount(config.id, mount, index).map((made) => ({ ...made, source: hostSourceOf(mount) ?? made.source })),
  );
  return { ...spec, root: { ...spec.root, path }, mounts: [...SYSTEM_MOUNTS, shm(config), ...mounts], hooks: config.hooks };
}

function allowed({ type, major, minor }: OciDevice): NonNullable<OciResources["devices"]>[number] {
  return { allow: true, type, major, minor, access: "rwm" };
}

function shm({ shmBytes }: ContainerConfig): OciMount {
  const options = ["nosuid", "noexec", "nodev", "mode=1777", `size=${Math.ceil(shmBytes / KiB)}k`];
  return { destination: "/dev/shm", type: "tmpfs", source: "shm", options };
}

/** A mount as the guest makes it. */
function guestMount(container: string, mount: MountConfig, index: number): OciMount[] {
  if (mount.type === "tmpfs") {
    const size = mount.sizeBytes === undefined ? [] : [`size=${Math.ceil(mount.sizeBytes / KiB)}k`];
    const options = [...(mount.flags ?? ["nosuid", "nodev"]), `mode=${mount.mode.toString(8)}`, ...size];
    return [{ destination: mount.target, type: "tmpfs", source: "tmpfs", options }];
  }
  const flags = mount.type === "block" ? [] : (mount.flags ?? []);
  const options = ["rbind", "rprivate", mount.readonly ? "ro" : "rw", ...flags];
  return [{ destination: mount.target, type: "bind", source: guestMountSource(container, index, mount.type), options }];
}

function hostSourceOf(mount: MountConfig): string | undefined {
  if (mount.type === "bind") return mount.source;
  return mount.type === "block" ? mount.path : undefined;
}
