/**
 * Whoever receives a data stream's bytes says in the other direction how many more it has for good: each acknowledgement is one unsigned number
 * of 4 bytes, big-endian, never 0. What was not acknowledged when the stream breaks, the sender has still.
 */

const BYTES = 4;
const LARGEST = 0xffff_ffff;

export function encodeAcknowledgement(bytes: number): Buffer {
  const message = Buffer.allocUnsafe(BYTES);
  message.writeUInt32BE(Math.min(bytes, LARGEST));
  return message;
}

/** Adds up acknowledgements, however their bytes were split. */
export class AcknowledgementReader {
  #partial = Buffer.alloc(0);

  /** How many bytes these acknowledge together; undefined when one of them is 0, which none may be. */
  push(chunk: Buffer): number | undefined {
    const bytes = this.#partial.length > 0 ? Buffer.concat([this.#partial, chunk]) : chunk;
    let sum = 0;
    let at = 0;
    for (; at + BYTES <= bytes.length; at += BYTES) {
      const value = bytes.readUInt32BE(at);
      if (value === 0) return undefined;
      sum += value;
    }
    this.#partial = Buffer.from(bytes.subarray(at));
    return sum;
  }
}
