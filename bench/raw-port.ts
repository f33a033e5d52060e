import { execFileSync } from "node:child_process";
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BareVm, type Parts } from "./bare.ts";

const MEGABYTES = 256;

/** Bytes a second that a guest of the same kernel gets through the very same port when nothing but `dd` writes to it. */
export async function rawPortSpeed(parts: Parts): Promise<number> {
  const directory = await mkdtemp(join(tmpdir(), "tv-raw-"));
  try {
    const initrd = await writingInitrd(directory, parts.boot.initrd ?? "");
    await using vm = await BareVm.start({ ...parts, boot: { ...parts.boot, initrd } }, 512 * 2 ** 20);
    const socket = await vm.connected();
    let bytes = 0;
    let first = 0;
    for await (const chunk of socket) {
      if (first === 0) first = performance.now();
      bytes += (chunk as Buffer).length;
      if (bytes >= MEGABYTES * 2 ** 20) break;
    }
    return bytes / ((performance.now() - first) / 1000);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** The guest's own first file system, with a process 1 that only writes to the port. */
async function writingInitrd(directory: string, initrd: string): Promise<string> {
  const tree = join(directory, "tree");
  await mkdir(tree);
  execFileSync("busybox", ["sh", "-c", 'cd "$1" && busybox cpio -idu < "$2"', "sh", tree, initrd], { stdio: "ignore" });
  const order =
    /for module in ([^;]*);/.exec(await readFile(join(tree, "init"), "utf8"))?.[1] ?? (await readdir(join(tree, "modules"))).join(" ");
  const init = `#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
for module in ${order}; do /bin/busybox insmod /modules/$module.ko; done
/bin/busybox dd if=/dev/zero of=/dev/vport1p1 bs=64k count=${(MEGABYTES * 2 ** 20) / 65536} || /bin/busybox dd if=/dev/zero of=/dev/vport0p1 bs=64k count=${(MEGABYTES * 2 ** 20) / 65536}
/bin/busybox sleep 1000
`;
  await writeFile(join(tree, "init"), init);
  await chmod(join(tree, "init"), 0o755);
  const out = join(directory, "initrd");
  execFileSync("busybox", ["sh", "-c", 'cd "$1" && find . | busybox cpio -o -H newc > "$2"', "sh", tree, out], { stdio: "ignore" });
  return out;
}
