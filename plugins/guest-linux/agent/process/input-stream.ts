import type { Writable } from "node:stream";
import { setImmediate as nextTurn } from "node:timers/promises";
import { Mutex } from "tapvisor/plugin";
import { StatusError } from "../status.ts";
import { until } from "../until.ts";

/** How much one write takes at most, bytes: what a pipe holds. */
const CHUNK_BYTES = 64 * 1024;

/** A process's standard input. */
export class InputStream {
  readonly #target: Writable;
  readonly #turns = new Mutex();
  #pending: Promise<void> | undefined;
  #closed = false;

  constructor(target: Writable) {
    this.#target = target;
    const close = () => {
      this.#closed = true;
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
      this.#pending = new Promise((resolve) => {
        this.#target.write(chunk, (error) => {
          taken = !error;
          this.#pending = undefined;
          resolve();
        });
      });
      // A pipe with room has taken the bytes, and a broken one has failed, by the second turn of the loop. A full one goes on
      // with this chunk, and the next write waits for that.
      await nextTurn();
      await nextTurn();
      if (!taken) this.#checkOpen(); // a process may read its last line and end before this is reached
      return chunk.length;
    }, signal);
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

  #checkOpen(): void {
    if (this.#closed || this.#target.destroyed)
      throw new StatusError("FAILED_PRECONDITION", "Cannot write to the standard input: it is closed");
  }
}
