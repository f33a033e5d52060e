import { close, openSync, read, write } from "node:fs";
import { promisify } from "node:util";
import type { BytePort } from "tapvisor/protocol";

/** Reads go into pieces of this, bytes; the kernel answers at most a page at a time. */
const SLAB_BYTES = 256 * 1024;
const MIN_READ_BYTES = 4096;

const readSome = promisify(read);
const writeSome = promisify(write);

/**
 * A virtio-serial port as the guest sees it: a character device that blocks. Two threads of Node's pool are therefore always busy here, one that waits for
 * bytes and, at times, one that waits for room. A read while no host is connected answers 0 at once, a write then waits for one.
 */
export function openPort(path: string): BytePort & { close(): Promise<void> } {
  const device = openSync(path, "r+");
  return {
    read: () => chunks(device),
    write: (bytes) => writeAll(device, bytes),
    close: () => promisify(close)(device),
  };
}

async function* chunks(device: number): AsyncGenerator<Buffer> {
  let slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
  for (;;) {
    if (slab.length < MIN_READ_BYTES) slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
    const { bytesRead } = await readSome(device, slab, 0, slab.length, null);
    yield slab.subarray(0, bytesRead);
    slab = slab.subarray(bytesRead);
  }
}

/** The kernel takes at most 32 KiB at a time. */
async function writeAll(device: number, bytes: Buffer): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    const { bytesWritten } = await writeSome(device, bytes, at, bytes.length - at, null);
    at += bytesWritten;
  }
}
