import type { Writable } from "node:stream";
import { setImmediate as nextTurn } from "node:timers/promises";
import { Mutex } from "tapvisor/plugin";
import { StatusError } from "../status.ts";
import { until } from "../until.ts";
import type { Waits } from "../waits.ts";

/** How much one write takes at most, bytes: what a pipe holds. */
const CHUNK_BYTES = 64 * 1024;

/** A process's standard input. */
export class InputStream {
  readonly #target: Writable;
  readonly #turns = new Mutex();
  #pending: Promise<boolean> | undefined;
  #settle: (error?: Error | null) => void = () => {};
  #closed = false;

  constructor(target: Writable) {
    this.#target = target;
    const close = () => {
      this.#closed = true;
      this.#settle(new Error("closed")); // a stream that is destroyed need not answer for its last write
    };
    target.once("error", close); // EPIPE: the process closed its end
    target.once("close", close);
  }

  /**
   * Answers how many bytes were taken, at least one; waits while the pipe is full. Writers take turns.
   * @throws FAILED_PRECONDITION when either side closed it, ABORTED when the signal fires first: nothing is taken then.
   */
  write(data: Uint8Array, signal: AbortSignal): Promise<number> {
    return this.#turns.run(async () => {
      if (this.#pending) await until(this.#pending, signal);
      this.#checkOpen();
      if (data.length === 0) return 0;
      const chunk = data.subarray(0, CHUNK_BYTES);
      let taken = false;
      void this.#put([chunk]).then((all) => {
        taken = all;
      });
      // A pipe with room has taken the bytes, and a broken one has failed, by the second turn of the loop. A full one goes on
      // with this chunk, and the next write waits for that.
      await nextTurn();
      await nextTurn();
      if (!taken) this.#checkOpen(); // a process may read its last line and end before this is reached
      return chunk.length;
    }, signal);
  }

  /**
   * Resolves when the pipe has taken all of it. Writers take turns.
   * @throws FAILED_PRECONDITION when either side closed it; the reason of the waits' signal when that fires first: the pipe may still take it then.
   */
  writeAll(data: readonly Uint8Array[], waits: Waits): Promise<void> {
    return this.#turns.run(async () => {
      const pending = this.#pending;
      if (pending) await waits.until((done) => void pending.then(() => done()));
      this.#checkOpen();
      let taken = false;
      await waits.until((done) => {
        void this.#put(data).then((all) => {
          taken = all;
          done();
        });
      });
      if (!taken) this.#checkOpen();
    });
  }

  /** No more will be written: the process reads what is there and then the end. Again is nothing. */
  close(): void {
    this.#closed = true;
    this.#target.end();
  }

  discard(): void {
    this.#closed = true;
    this.#target.destroy();
  }

  /** One vectored write, as far as the pipe has room; tells whether the pipe has taken all of it. */
  #put(chunks: readonly Uint8Array[]): Promise<boolean> {
    const pending = new Promise<boolean>((resolve) => {
      this.#settle = (error) => {
        this.#pending = undefined;
        resolve(!error);
      };
      const last = chunks.length - 1;
      this.#target.cork();
      for (const [index, chunk] of chunks.entries()) this.#target.write(chunk, index === last ? this.#settle : undefined);
      this.#target.uncork();
    });
    this.#pending = pending;
    return pending;
  }

  #checkOpen(): void {
    if (this.#closed || this.#target.destroyed)
      throw new StatusError("FAILED_PRECONDITION", "Cannot write to the standard input: it is closed");
  }
}
