import { readFile } from "node:fs/promises";
import { type Call, type Finding, formatBytes, KiB, MiB, messageOf } from "tapvisor/plugin";
import { acceleratorFor } from "./accelerator-for.ts";
import { findProgram } from "./host-programs.ts";
import type { QemuOptions } from "./options.ts";
import { findUser, type QemuUser } from "./user.ts";
import { askVersion, formatVersion, isTooOld, OLDEST_QEMU } from "./version.ts";

/** The smallest amount of free memory that holds a guest with its agent. */
const LITTLE_MEMORY = 512 * MiB;

/** What this plugin needs from the host, for `doctor`. Changes nothing. */
export async function inspectHost(options: QemuOptions, call: Call): Promise<Finding[]> {
  const user = await findUser(options, call).catch((error: unknown) => error);
  const known = user instanceof Error ? undefined : (user as QemuUser | undefined);
  return Promise.all([
    qemu(options, call),
    ...(options.user === undefined ? [] : [userOfQemu(known, user)]),
    accelerator(options, known, call),
    virtiofsd(options),
    programs("process and namespace tools", ["setpriv", "unshare", "mount"], "util-linux"),
    programs("log tools", ["stdbuf", "head", "stat"], "coreutils"),
    root(),
    memory(),
  ]);
}

async function qemu({ binary }: QemuOptions, call: Call): Promise<Finding> {
  const check = "QEMU";
  const packages = ["qemu-system-x86"];
  const fix = "apt-get install qemu-system-x86";
  const path = await findProgram(binary);
  if (!path) return { check, level: "missing", found: `no program "${binary}"`, fix, packages };
  const version = await askVersion(path, call);
  if (!version) return { check, level: "missing", found: `${path} does not tell its version`, fix, packages };
  const found = `${formatVersion(version)} at ${path}`;
  if (!isTooOld(version)) return { check, level: "ok", found, packages };
  return { check, level: "missing", found: `${found}, wanted ${OLDEST_QEMU.major}.${OLDEST_QEMU.minor} or newer`, fix, packages };
}

async function userOfQemu(user: QemuUser | undefined, error: unknown): Promise<Finding> {
  const check = "user of QEMU";
  if (user) return { check, level: "ok", found: `${user.name} (${user.uid}), group ${user.group} (${user.gid})` };
  return {
    check,
    level: "missing",
    found: messageOf(error),
    fix: "name an unprivileged user of this host in the option `user`, and run as root",
  };
}

async function accelerator(options: QemuOptions, user: QemuUser | undefined, call: Call): Promise<Finding> {
  const check = "accelerator";
  try {
    const { name, why } = await acceleratorFor(options.accelerator, user, call);
    if (name === "kvm") return { check, level: "ok", found: `KVM: ${why}` };
    const fix = "use a host with hardware virtualisation where speed or a security boundary matters: QEMU promises none under TCG";
    return { check, level: "degraded", found: `TCG (software emulation): ${why}`, fix };
  } catch (error) {
    return { check, level: "missing", found: messageOf(error), fix: 'use the accelerator "auto"' };
  }
}

async function virtiofsd(options: QemuOptions): Promise<Finding> {
  const check = "virtiofsd";
  const packages = ["qemu-system-common"];
  const path = await findProgram(...options.virtiofsd);
  if (path) return { check, level: "ok", found: path, packages };
  return { check, level: "missing", found: `none of ${options.virtiofsd.join(", ")}`, fix: "apt-get install qemu-system-common", packages };
}

async function programs(check: string, names: readonly string[], debianPackage: string): Promise<Finding> {
  const found = await Promise.all(names.map((name) => findProgram(name)));
  const missing = names.filter((_, index) => found[index] === undefined);
  const packages = [debianPackage];
  if (missing.length === 0) return { check, level: "ok", found: names.join(", "), packages };
  return { check, level: "missing", found: `no ${missing.join(", ")}`, fix: `apt-get install ${debianPackage}`, packages };
}

async function root(): Promise<Finding> {
  const check = "root";
  if (process.geteuid?.() === 0) return { check, level: "ok", found: "runs as root" };
  const found = "not root: a directory is copied into a disk image as root file system, and cannot be mounted";
  return { check, level: "degraded", found, fix: "run as root or with sudo to share host directories" };
}

async function memory(): Promise<Finding> {
  const check = "memory";
  const text = await readFile("/proc/meminfo", "utf8");
  const [total = 0, available = 0] = ["MemTotal", "MemAvailable"].map((field) => {
    return Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(text)?.[1] ?? 0) * KiB;
  });
  const found = `${mebibytes(available)} free of ${mebibytes(total)}`;
  if (available >= LITTLE_MEMORY) return { check, level: "ok", found };
  return { check, level: "degraded", found, fix: `free some: a VM needs about ${formatBytes(LITTLE_MEMORY)}` };
}

function mebibytes(bytes: number): string {
  return formatBytes(Math.floor(bytes / MiB) * MiB);
}
