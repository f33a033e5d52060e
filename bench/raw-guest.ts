import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BareVm, type Parts } from "./bare.ts";

/** A VM of the same kernel in which nothing runs but a few lines of shell, with the agent's port as descriptor 3. */
export async function withRawGuest<T>(parts: Parts, script: string, work: (vm: BareVm) => Promise<T>): Promise<T> {
  const directory = await mkdtemp(join(tmpdir(), "tv-raw-"));
  try {
    const initrd = await changedInitrd(directory, parts.boot.initrd ?? "", (init) => rawInit(init, script));
    await using vm = await BareVm.start({ ...parts, boot: { ...parts.boot, initrd } }, 512 * 2 ** 20);
    return await work(vm);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** Reads so many bytes, and says how many a second from the first of them on. */
export function reader(socket: Socket): (bytes: number) => Promise<number> {
  let surplus = 0;
  return async (bytes) => {
    let first = surplus > 0 ? performance.now() : 0;
    let got = surplus;
    while (got < bytes) {
      const chunk = socket.read() as Buffer | null;
      if (!chunk) {
        await once(socket, "readable");
        continue;
      }
      first ||= performance.now();
      got += chunk.length;
    }
    surplus = got - bytes;
    return bytes / ((performance.now() - first) / 1000);
  };
}

/** The guest's own first file system, with another process 1: what `change` makes of its script. */
export async function changedInitrd(directory: string, initrd: string, change: (init: string) => string): Promise<string> {
  const tree = join(directory, "tree");
  await mkdir(tree);
  execFileSync("busybox", ["sh", "-c", 'cd "$1" && busybox cpio -idu < "$2"', "sh", tree, initrd], { stdio: "ignore" });
  const init = join(tree, "init");
  await writeFile(init, change(await readFile(init, "utf8")));
  await chmod(init, 0o755);
  const out = join(directory, "initrd");
  execFileSync("busybox", ["sh", "-c", 'cd "$1" && find . | busybox cpio -o -H newc > "$2"', "sh", tree, out], { stdio: "ignore" });
  return out;
}

function rawInit(init: string, script: string): string {
  const order = /for module in ([^;]*);/.exec(init)?.[1] ?? "";
  return `#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
for module in ${order}; do /bin/busybox insmod /modules/$module.ko; done
for port in /dev/vport0p1 /dev/vport1p1; do if [ -e $port ]; then exec 3<>$port; fi; done
${script}
/bin/busybox sleep 1000
`;
}
