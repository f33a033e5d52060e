import type { Readable } from "node:stream";
import { Mutex } from "tapvisor/plugin";

/** How much of a stream the agent holds for a reader that is slow, bytes; then the pipe fills, then the process waits. */
export const OUTPUT_BUFFER_BYTES = 1024 * 1024;

/** A piece of a stream and where it stands in it, bytes from the start. */
export interface OutputChunk {
  readonly at: number;
  readonly data: Buffer;
}

/** What a process writes to its standard output or error, read by request. Nothing is lost when the process ends first. */
export class OutputStream {
  readonly #source: Readable;
  readonly #turns = new Mutex();
  /** In the order of the stream, which need not be the order in which they came back. */
  #returned: OutputChunk[] = [];
  #position = 0;
  #ended = false;
  #discarded = false;

  /** `source` must buffer no more than `OUTPUT_BUFFER_BYTES` and be read by nobody else. */
  constructor(source: Readable) {
    this.#source = source;
    const end = () => {
      this.#ended = true;
    };
    source.once("end", end);
    source.once("close", end);
    source.on("error", end); // a pipe that fails has no more to give
  }

  /**
   * The next bytes, at most `maxBytes`; waits for some, and is empty at the end, again and again. Readers take turns.
   * @throws ABORTED when the signal fires first; no byte is taken then.
   */
  read(maxBytes: number, signal?: AbortSignal): Promise<OutputChunk> {
    return this.#turns.run(async () => {
      for (;;) {
        const chunk = this.#take(maxBytes);
        if (chunk) return chunk;
        if (this.#ended) return { at: this.#position, data: Buffer.alloc(0) };
        await this.#change(signal);
      }
    }, signal);
  }

  /** Takes back what a read answered and did not get through: the next read has it again. */
  giveBack(chunk: OutputChunk): void {
    if (chunk.data.length > 0 && !this.#discarded) this.#returned = [...this.#returned, chunk].sort((a, b) => a.at - b.at);
  }

  /** Throws away what has not been read; later reads are empty. */
  discard(): void {
    this.#ended = true;
    this.#discarded = true;
    this.#returned = [];
    this.#source.destroy();
  }

  #take(maxBytes: number): OutputChunk | undefined {
    if (this.#discarded) return undefined; // a destroyed stream still gives out what it had read
    const first = this.#returned.shift();
    if (first) {
      const data = first.data.subarray(0, maxBytes);
      if (data.length < first.data.length) this.#returned.unshift({ at: first.at + data.length, data: first.data.subarray(data.length) });
      return { at: first.at, data };
    }
    const available = this.#source.readableLength;
    // Also with nothing there: reading past the last byte is what makes a stream emit its end.
    const data: Buffer | null = this.#source.read(available > 0 ? Math.min(maxBytes, available) : undefined);
    if (!data) return undefined;
    const at = this.#position;
    this.#position += data.length;
    return { at, data };
  }

  #change(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const events = ["readable", "end", "close", "error"] as const;
      const done = () => {
        for (const event of events) this.#source.off(event, done);
        signal?.removeEventListener("abort", done);
        if (signal?.aborted) reject(signal.reason);
        else resolve();
      };
      for (const event of events) this.#source.on(event, done);
      signal?.addEventListener("abort", done, { once: true });
      if (signal?.aborted || this.#ended) done();
    });
  }
}
