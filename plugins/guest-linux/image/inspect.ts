import { arch } from "node:process";
import { type Call, type Finding, messageOf } from "tapvisor/plugin";
import { isUndamaged } from "./entry.ts";
import { findKernel } from "./kernel.ts";
import { listApplets } from "./parts.ts";
import { findPrepared, type GuestSources } from "./prepare.ts";
import { findProgram } from "./program.ts";

/** What the guest is built from and whether it is built, for the doctor; changes nothing. */
export async function inspectGuestHost(sources: GuestSources, call: Call): Promise<Finding[]> {
  return [
    inspectNode(),
    await inspectProgram("crun", "crun"),
    await inspectProgram("perl", "perl-base"),
    await inspectProgram("mkfs.erofs", "erofs-utils"),
    await inspectBusybox(call),
    await inspectKernel(sources),
    await inspectBuilt(sources),
  ];
}

function inspectNode(): Finding {
  const node = { check: "Node for the guest", found: `${process.execPath} ${process.version} ${arch}` };
  if (arch === "x64") return { ...node, level: "ok" };
  return { ...node, level: "missing", fix: "use an x64 machine, or guest-files with a kernel and an image of your own" };
}

async function inspectProgram(name: string, debianPackage: string): Promise<Finding> {
  const path = await findProgram(name);
  if (path !== undefined) return { check: name, level: "ok", found: path };
  return {
    check: name,
    level: "missing",
    found: "not installed",
    fix: `sudo apt-get install ${debianPackage}`,
    packages: [debianPackage],
  };
}

async function inspectBusybox(call: Call): Promise<Finding> {
  const finding = await inspectProgram("busybox", "busybox-static");
  if (finding.level !== "ok") return finding;
  try {
    await listApplets(finding.found, call);
    return finding;
  } catch (error) {
    const fix = { fix: "sudo apt-get install busybox-static", packages: ["busybox-static"] };
    return { check: "busybox", level: "missing", found: messageOf(error), ...fix };
  }
}

async function inspectKernel(sources: GuestSources): Promise<Finding> {
  const check = "guest kernel";
  try {
    const kernel = await findKernel(sources.places);
    if (kernel) return { check, level: "ok", found: `${kernel.kernel} (${kernel.origin})` };
    return {
      check,
      level: "missing",
      found: "none installed, none unpacked",
      fix: "tapvisor setup (downloads and unpacks Debian's, needs no root)",
    };
  } catch (error) {
    return { check, level: "missing", found: messageOf(error), fix: "correct the options kernel and modules of guest-linux" };
  }
}

async function inspectBuilt(sources: GuestSources): Promise<Finding> {
  const check = "guest image";
  try {
    const files = await findPrepared(sources);
    if (files === undefined)
      return { check, level: "degraded", found: "not built: the first start takes some seconds more", fix: "tapvisor setup" };
    if (await isUndamaged(files)) return { check, level: "ok", found: files.directory };
    return { check, level: "missing", found: `${files.directory} is damaged`, fix: `rm -r ${files.directory} && tapvisor setup` };
  } catch (error) {
    return { check, level: "missing", found: messageOf(error), fix: "mend what is said above, then: tapvisor setup" };
  }
}
