import { posix } from "node:path";
import { StatusError } from "./status.ts";

/** Where things are in the guest. */
export interface GuestPaths {
  /** The agent's own files, on a tmpfs: bundles, named pipes, the OCI runtime's state. */
  readonly own: string;
  /** Below these a request may have something mounted, and a container may be given something from. */
  readonly open: readonly string[];
  /** The cgroup v2 hierarchy. */
  readonly cgroups: string;
  readonly sys: string;
  readonly dev: string;
  /** The OCI runtime. */
  readonly crun: string;
  readonly busybox: string;
  /** Moves a terminal's bytes, and makes the calls to the kernel that Node has not. */
  readonly perl: string;
  readonly hostnameFile: string;
  /** To which the image's `/etc/machine-id` leads. */
  readonly machineId: string;
  /** The guest's own files, and where below an open directory they are offered for a container of them. */
  readonly image: string;
  readonly offeredImage: string;
  /** Where the guest's image looks for its name servers, and containers can be given them from, as in a Kata guest. */
  readonly resolvConf: string;
  /** What is mounted, as the kernel says it. */
  readonly mounts: string;
  readonly proc: string;
  /** The kernel modules of the image, with the files to load for each. */
  readonly modules: string;
}

export const GUEST_PATHS: GuestPaths = {
  own: "/run/tapvisor-agent",
  open: ["/run/kata-containers", "/run/tapvisor"],
  cgroups: "/sys/fs/cgroup",
  sys: "/sys",
  dev: "/dev",
  crun: "/usr/bin/crun",
  busybox: "/bin/busybox",
  perl: "/usr/bin/perl",
  hostnameFile: "/proc/sys/kernel/hostname",
  machineId: "/run/machine-id",
  image: "/",
  offeredImage: "/run/tapvisor/image",
  resolvConf: "/run/kata-containers/sandbox/resolv.conf",
  mounts: "/proc/self/mounts",
  proc: "/proc",
  modules: "/etc/tapvisor/modules.json",
};

/** @throws INVALID_ARGUMENT unless `path` is absolute, has no `.`, `..` or doubled slash, and is below one of the open directories. */
export function checkOpenPath({ open }: GuestPaths, field: string, path: string): string {
  const plain = posix.isAbsolute(path) && posix.normalize(path) === path && !path.endsWith("/") && !path.includes("\0");
  if (plain && open.some((directory) => path.startsWith(`${directory}/`))) return path;
  throw new StatusError("INVALID_ARGUMENT", `Cannot use ${field} ${JSON.stringify(path)}: wanted a plain path below ${open.join(" or ")}`);
}
