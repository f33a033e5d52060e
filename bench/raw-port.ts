import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BareVm, type Parts } from "./bare.ts";

const MEGABYTES = 64;
const BYTES = MEGABYTES * 2 ** 20;

/** Bytes a second that a guest of the same kernel gets through the very same port when nothing but `dd` works on it. */
export interface RawSpeeds {
  /** `dd` writes to the port. */
  readonly out: number;
  /** `dd` writes to a pipe, and a second one copies that to the port: what any agent has to do with a process's output. */
  readonly piped: number;
  /** `dd` reads from the port. */
  readonly in: number;
}

export async function rawPortSpeeds(parts: Parts): Promise<RawSpeeds> {
  const directory = await mkdtemp(join(tmpdir(), "tv-raw-"));
  try {
    const initrd = await copyingInitrd(directory, parts.boot.initrd ?? "");
    await using vm = await BareVm.start({ ...parts, boot: { ...parts.boot, initrd } }, 512 * 2 ** 20);
    const socket = await vm.connected();
    const read = reader(socket);
    const out = await read(BYTES);
    const piped = await read(BYTES);
    const start = performance.now();
    const block = Buffer.alloc(2 ** 20, 1);
    for (let count = 0; count < MEGABYTES; count++) if (!socket.write(block)) await once(socket, "drain");
    await read(1);
    return { out, piped, in: BYTES / ((performance.now() - start) / 1000) };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** Reads so many bytes, and says how many a second from the first of them on. */
function reader(socket: Socket): (bytes: number) => Promise<number> {
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

/** The guest's own first file system, with a process 1 that only copies. */
async function copyingInitrd(directory: string, initrd: string): Promise<string> {
  const tree = join(directory, "tree");
  await mkdir(tree);
  execFileSync("busybox", ["sh", "-c", 'cd "$1" && busybox cpio -idu < "$2"', "sh", tree, initrd], { stdio: "ignore" });
  const order =
    /for module in ([^;]*);/.exec(await readFile(join(tree, "init"), "utf8"))?.[1] ?? (await readdir(join(tree, "modules"))).join(" ");
  const dd = `/bin/busybox dd bs=64k count=${BYTES / 65536}`;
  const init = `#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
for module in ${order}; do /bin/busybox insmod /modules/$module.ko; done
for port in /dev/vport0p1 /dev/vport1p1; do if [ -e $port ]; then exec 3<>$port; fi; done
${dd} if=/dev/zero >&3
${dd} if=/dev/zero | /bin/busybox dd bs=64k >&3
${dd} iflag=fullblock of=/dev/null <&3
echo -n . >&3
/bin/busybox sleep 1000
`;
  await writeFile(join(tree, "init"), init);
  await chmod(join(tree, "init"), 0o755);
  const out = join(directory, "initrd");
  execFileSync("busybox", ["sh", "-c", 'cd "$1" && find . | busybox cpio -o -H newc > "$2"', "sh", tree, out], { stdio: "ignore" });
  return out;
}
