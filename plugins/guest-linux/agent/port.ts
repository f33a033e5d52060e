import { close, openSync, read, readvSync, writev } from "node:fs";
import { promisify } from "node:util";
import type { BytePort } from "tapvisor/protocol";
import { portPieces } from "./port-pieces.ts";

/** Reads go into pieces of this, bytes; the kernel answers at most a page at a time. */
const SLAB_BYTES = 256 * 1024;
const PAGE_BYTES = 4096;

const readSome = promisify(read);

/**
 * A virtio-serial port as the guest sees it: a character device that blocks. Two threads of Node's pool are therefore always busy here, one that waits for
 * bytes and, at times, one that waits for room. A read while no host is connected answers 0 at once, a write then waits for one.
 */
export function openPort(path: string): BytePort & { close(): Promise<void> } {
  const device = openSync(path, "r+");
  const pieces = portPieces();
  return {
    read: (owed) => chunks(device, owed),
    write: (frames) => writeAll(device, pieces(frames)),
    close: () => promisify(close)(device),
  };
}

/**
 * The rest of a frame is read without the pool: a page takes a fifth of the time that way. The agent does nothing else meanwhile, which is short, since a
 * host has written the whole frame; one that dies in the middle ends the wait.
 */
async function* chunks(device: number, owed: () => number): AsyncGenerator<Buffer> {
  let slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
  for (;;) {
    if (slab.length < PAGE_BYTES) slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
    const missing = Math.min(owed(), slab.length);
    const bytes = missing > 0 ? readOwed(device, slab, missing) : (await readSome(device, slab, 0, slab.length, null)).bytesRead;
    yield slab.subarray(0, bytes);
    slab = slab.subarray(bytes);
  }
}

/**
 * Up to `missing` bytes or a little more. A vectored read goes on from page to page and stops at one that is not full: that may be the last of its
 * host's, and the next one's beginning has to be seen before more is waited for.
 */
function readOwed(device: number, into: Buffer, missing: number): number {
  const pages: Uint8Array[] = [];
  for (let at = 0; at < missing; at += PAGE_BYTES) {
    pages.push(new Uint8Array(into.buffer, into.byteOffset + at, Math.min(PAGE_BYTES, into.length - at)));
  }
  return readvSync(device, pages);
}

/** All in one turn through the thread pool: under emulation a turn costs as much as the writing of 32 KiB. */
async function writeAll(device: number, pieces: readonly Buffer[]): Promise<void> {
  for (let left = pieces; left.length > 0; ) left = behind(left, await writeSome(device, left));
}

function writeSome(device: number, pieces: readonly Buffer[]): Promise<number> {
  return new Promise((resolve, reject) => {
    writev(device, pieces, null, (error, bytes) => (error ? reject(error) : resolve(bytes)));
  });
}

/** What is left of the pieces behind their first bytes. */
function behind(pieces: readonly Buffer[], bytes: number): readonly Buffer[] {
  let left = bytes;
  for (const [index, piece] of pieces.entries()) {
    if (left < piece.length) return [piece.subarray(left), ...pieces.slice(index + 1)];
    left -= piece.length;
  }
  return [];
}
