import { Writable } from "node:stream";
import { KiB } from "../base/units.ts";

/** At most this much travels in one request. */
const WRITE_BYTES = 64 * KiB;

export interface InputTarget {
  /** Writes some of the bytes and tells how many; waits while the process's pipe is full. */
  write(data: Uint8Array, signal: AbortSignal): Promise<number>;
  close(signal: AbortSignal): Promise<void>;
}

/** A process's stdin: a Node stream whose writes end when the process's pipe has taken them; `end()` closes the pipe. */
export class InputStream extends Writable {
  readonly #target: InputTarget;
  readonly #stop = new AbortController();

  constructor(target: InputTarget) {
    super({ highWaterMark: WRITE_BYTES });
    this.#target = target;
    // A process that ends without reading its input is no reason for a script to die.
    this.on("error", () => {});
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    this.#writeAll(chunk).then(() => callback(), callback);
  }

  override _final(callback: (error?: Error | null) => void): void {
    this.#target.close(this.#stop.signal).then(() => callback(), callback);
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#stop.abort();
    callback(error);
  }

  async #writeAll(chunk: Buffer): Promise<void> {
    for (let taken = 0; taken < chunk.length; ) {
      taken += await this.#target.write(chunk.subarray(taken, taken + WRITE_BYTES), this.#stop.signal);
    }
  }
}
