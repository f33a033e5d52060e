/** Makes examples/rootfs from this machine's static busybox: a small root file system for the examples, without a download. */
import { execFileSync } from "node:child_process";
import {
  accessSync,
  chmodSync,
  constants,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const DIRECTORIES = ["bin", "dev", "etc", "proc", "root", "sys", "tmp"];

/** Writes a root file system of busybox and its commands to `target`, in place of what is there. Throws when this machine has no busybox. */
export function makeExampleRootfs(target = fileURLToPath(new URL("../examples/rootfs", import.meta.url))): void {
  const busybox = findBusybox();
  mkdirSync(dirname(target), { recursive: true });
  const work = mkdtempSync(join(dirname(target), ".rootfs-"));
  try {
    const rootfs = join(work, "new");
    for (const directory of DIRECTORIES) mkdirSync(join(rootfs, directory), { recursive: true });
    chmodSync(join(rootfs, "tmp"), 0o1777);
    copyFileSync(busybox, join(rootfs, "bin", "busybox"));
    chmodSync(join(rootfs, "bin", "busybox"), 0o755);
    for (const applet of execFileSync(busybox, ["--list"], { encoding: "utf8" }).split("\n")) {
      if (applet !== "" && applet !== "busybox") symlinkSync("busybox", join(rootfs, "bin", applet));
    }
    writeFileSync(join(rootfs, "etc", "passwd"), "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n");
    writeFileSync(join(rootfs, "etc", "group"), "root:x:0:\nnogroup:x:65534:\n");
    if (exists(target)) renameSync(target, join(work, "old"));
    renameSync(rootfs, target);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function findBusybox(): string {
  const found = (process.env.PATH ?? "")
    .split(delimiter)
    .map((directory) => join(directory, "busybox"))
    .find(exists);
  if (found === undefined) throw new Error("Cannot make examples/rootfs: busybox is not installed (sudo apt-get install busybox-static)");
  return found;
}

function exists(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) makeExampleRootfs();
