import { Writable } from "node:stream";
import { MiB } from "../base/units.ts";

/** Small writes are gathered up to this while earlier ones are under way. */
const BUFFER_BYTES = 1 * MiB;

export interface InputTarget {
  /** Resolves when the process's pipe has taken all of it. */
  write(data: Uint8Array, signal: AbortSignal): Promise<void>;
  /** Closes the process's input. */
  end(signal: AbortSignal): Promise<void>;
  /** Lets go of it without an end. */
  close(): void;
}

/** A process's stdin: a Node stream whose writes end when the process's pipe has taken them; `end()` closes the pipe. */
export class InputStream extends Writable {
  readonly #target: InputTarget;
  readonly #stop = new AbortController();

  constructor(target: InputTarget) {
    super({ highWaterMark: BUFFER_BYTES });
    this.#target = target;
    // A process that ends without reading its input is no reason for a script to die.
    this.on("error", () => {});
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    this.#target.write(chunk, this.#stop.signal).then(() => callback(), callback);
  }

  override _writev(chunks: { chunk: Buffer }[], callback: (error?: Error | null) => void): void {
    this._write(Buffer.concat(chunks.map(({ chunk }) => chunk)), "binary", callback);
  }

  override _final(callback: (error?: Error | null) => void): void {
    this.#target.end(this.#stop.signal).then(() => callback(), callback);
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#stop.abort();
    this.#target.close();
    callback(error);
  }
}
