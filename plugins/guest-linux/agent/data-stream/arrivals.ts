import type { Readable } from "node:stream";

/** What is held beside the connection's window, bytes; then it is paused. */
const HELD_BYTES = 256 * 1024;

/** Gathers what arrives while its taker is busy: one turn of the taker then takes all of it, without a copy. */
export class Arrivals {
  readonly #connection: Readable;
  readonly #gone: AbortSignal;
  #chunks: Buffer[] = [];
  #bytes = 0;
  #ended = false;
  #wake: () => void = () => {};
  #dropping = false;

  /** `gone`: the connection is over, and what has not been taken with it. */
  constructor(connection: Readable, gone: AbortSignal) {
    this.#connection = connection;
    this.#gone = gone;
    connection.on("data", (chunk: Buffer) => this.#take(chunk));
    connection.once("end", () => {
      this.#ended = true;
      this.#wake();
    });
    gone.addEventListener("abort", () => this.#wake(), { once: true });
  }

  /** All that has arrived, waiting for some; nothing at the end. @throws the reason of `gone`. */
  async next(): Promise<readonly Buffer[]> {
    if (this.#bytes === 0 && !this.#ended && !this.#gone.aborted) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    if (this.#gone.aborted) throw this.#gone.reason;
    const chunks = this.#chunks;
    this.#chunks = [];
    this.#bytes = 0;
    this.#connection.resume();
    return chunks;
  }

  /** From here on what arrives is thrown away. */
  drop(): void {
    this.#dropping = true;
    this.#chunks = [];
    this.#connection.resume();
  }

  #take(chunk: Buffer): void {
    if (this.#dropping) return;
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    if (this.#bytes >= HELD_BYTES) this.#connection.pause();
    this.#wake();
  }
}
