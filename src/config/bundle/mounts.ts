import { resolve } from "node:path";
import { KiB } from "../../base/units.ts";
import { type ContainerMount, MOUNT_FLAGS, type MountFlag } from "../mounts-config.ts";
import type { Refuse } from "./refuse.ts";
import type { OciConfig } from "./schema.ts";

type OciConfigMount = NonNullable<OciConfig["mounts"]>[number];

/** What the guest makes for every container, by its type; options but the size of /dev/shm are the guest's own. */
const MADE: Readonly<Record<string, readonly string[]>> = {
  "/proc": ["proc"],
  "/dev": ["tmpfs"],
  "/dev/pts": ["devpts"],
  "/dev/shm": ["tmpfs"],
  "/dev/mqueue": ["mqueue"],
  "/sys": ["sysfs"],
  "/sys/fs/cgroup": ["cgroup", "cgroup2"],
};

/** What says what is so anyway. */
const SELF_EVIDENT = new Set([
  "bind",
  "rbind",
  "private",
  "rprivate",
  "rw",
  "exec",
  "suid",
  "dev",
  "defaults",
  "async",
  "atime",
  "diratime",
]);

export interface BundleMounts {
  readonly mounts: readonly ContainerMount[];
  readonly shmSize?: number;
}

/** The mounts of a configuration as options: bind mounts and tmpfs; sources are relative to the bundle. */
export function bundleMounts(mounts: readonly OciConfigMount[], bundle: string, refuse: Refuse): BundleMounts {
  let shmSize: number | undefined;
  const carried = mounts.flatMap((mount, index): ContainerMount[] => {
    const at = `mounts.${index}`;
    const { destination, type = "bind", options = [] } = mount;
    const made = MADE[destination];
    if (made) {
      if (!made.includes(type)) throw refuse(`${at}.type`, `${made.join(" or ")}, since the guest makes ${destination} itself`);
      if (destination === "/dev/shm") shmSize = sizeIn(options, at, refuse);
      return [];
    }
    if (type === "tmpfs") return [tmpfs(destination, options, at, refuse)];
    const isBind = type === "bind" || (type === "none" && options.some((option) => option === "bind" || option === "rbind"));
    if (!isBind) throw refuse(`${at}.type`, '"bind" or "tmpfs": a file system on a disk is given by the option mounts');
    if (mount.source === undefined) throw refuse(`${at}.source`, "a path of the host");
    const { readonly, flags } = flagsOf(options, at, refuse, () => false);
    return [{ source: resolve(bundle, mount.source), target: destination, readonly, options: flags }];
  });
  return { mounts: carried, ...(shmSize !== undefined && { shmSize }) };
}

function tmpfs(target: string, options: readonly string[], at: string, refuse: Refuse): ContainerMount {
  const size = sizeIn(options, at, refuse);
  const mode = options.findLast((option) => option.startsWith("mode="))?.slice("mode=".length);
  if (mode !== undefined && !/^[0-7]{1,5}$/.test(mode)) throw refuse(`${at}.options`, "a mode in octal");
  const { readonly, flags } = flagsOf(options, at, refuse, (option) => /^(size|mode)=/.test(option));
  if (readonly) throw refuse(`${at}.options`, "no ro: an empty file system that cannot be written has no use");
  return {
    tmpfs: true,
    target,
    options: flags,
    ...(size !== undefined && { size }),
    ...(mode !== undefined && { mode: Number.parseInt(mode, 8) }),
  };
}

function flagsOf(options: readonly string[], at: string, refuse: Refuse, isKnown: (option: string) => boolean) {
  const flags: MountFlag[] = [];
  for (const [index, option] of options.entries()) {
    const flag = MOUNT_FLAGS.find((name) => name === option);
    if (flag) flags.push(flag);
    else if (option !== "ro" && !SELF_EVIDENT.has(option) && !isKnown(option)) {
      throw refuse(`${at}.options.${index}`, `another option: the guest takes ro, rw and ${MOUNT_FLAGS.join(", ")}`);
    }
  }
  return { readonly: options.includes("ro"), flags };
}

/** Bytes, from `size=65536k`. */
function sizeIn(options: readonly string[], at: string, refuse: Refuse): number | undefined {
  const text = options.findLast((option) => option.startsWith("size="))?.slice("size=".length);
  if (text === undefined) return undefined;
  const [, digits, unit = ""] = /^(\d{1,15})([kmg]?)$/i.exec(text) ?? [];
  if (digits === undefined) throw refuse(`${at}.options`, "a size such as size=65536k");
  return Number(digits) * KiB ** " kmg".indexOf(unit.toLowerCase() || " ");
}
