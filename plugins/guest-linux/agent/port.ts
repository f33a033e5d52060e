import { close, openSync, read, readvSync, writev } from "node:fs";
import { promisify } from "node:util";
import { type BytePort, SESSION_BEGUN } from "tapvisor/protocol";
import { compilingWhenBusy } from "./compile-when-busy.ts";
import { portPieces } from "./port-pieces.ts";

/** Reads go into pieces of this, bytes; the kernel answers at most a page at a time. */
const SLAB_BYTES = 256 * 1024;
const PAGE_BYTES = 4096;

const readSome = promisify(read);

/** What somebody who kept the port leaves: whether a session has begun meanwhile, and its bytes that are still to be taken. */
export interface Kept {
  readonly begun: boolean;
  readonly rest: Buffer;
}

export interface AgentPort extends BytePort {
  readonly descriptor: number;
  /**
   * Hands the port over with the next bytes that arrive, which are the last that are read here until `keep` resolves; what is written meanwhile is thrown away.
   * Nothing happens when the host leaves before.
   */
  handOver(keep: () => Promise<Kept>): void;
  close(): Promise<void>;
}

/**
 * A virtio-serial port as the guest sees it: a character device that blocks. Two threads of Node's pool are therefore always busy here, one that waits for
 * bytes and, at times, one that waits for room. A read while no host is connected answers 0 at once, a write then waits for one.
 */
export function openPort(path: string): AgentPort {
  const device = openSync(path, "r+");
  const pieces = portPieces();
  const moved = compilingWhenBusy();
  let keep: (() => Promise<Kept>) | undefined;
  let writing: Promise<void> = Promise.resolve();
  let isKept = false;
  async function* read(owed: () => number): AsyncGenerator<Buffer | typeof SESSION_BEGUN> {
    for await (const chunk of chunks(device, owed)) {
      moved(chunk.length);
      yield chunk;
      const handedTo = keep;
      keep = undefined;
      if (!handedTo || chunk.length === 0) continue;
      isKept = true;
      await writing.catch(() => {});
      const { begun, rest } = await handedTo();
      isKept = false;
      if (begun) yield SESSION_BEGUN;
      if (rest.length > 0) yield rest;
    }
  }
  return {
    descriptor: device,
    read,
    write: (frames) => {
      if (isKept) return Promise.resolve();
      for (const { length } of frames) moved(length);
      writing = writeAll(device, pieces(frames));
      return writing;
    },
    handOver: (to) => {
      keep = to;
    },
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
