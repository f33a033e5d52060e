import { once } from "node:events";
import type { Parts } from "./bare.ts";
import { reader, withRawGuest } from "./raw-guest.ts";

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
  const dd = `/bin/busybox dd bs=64k count=${BYTES / 65536}`;
  const copying = `${dd} if=/dev/zero >&3
${dd} if=/dev/zero | /bin/busybox dd bs=64k >&3
${dd} iflag=fullblock of=/dev/null <&3
echo -n . >&3`;
  return withRawGuest(parts, copying, async (vm) => {
    const socket = await vm.connected();
    const read = reader(socket);
    const out = await read(BYTES);
    const piped = await read(BYTES);
    const start = performance.now();
    const block = Buffer.alloc(2 ** 20, 1);
    for (let count = 0; count < MEGABYTES; count++) if (!socket.write(block)) await once(socket, "drain");
    await read(1);
    return { out, piped, in: BYTES / ((performance.now() - start) / 1000) };
  });
}
