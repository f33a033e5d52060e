import type { Readable } from "node:stream";
import type { Waits } from "../waits.ts";

/** What is held beside the connection's window, bytes; then it is paused. */
const HELD_BYTES = 256 * 1024;

/** Gathers what arrives while its taker is busy: one turn of the taker then takes all of it, without a copy. */
export class Arrivals {
  readonly #connection: Readable;
  readonly #waits: Waits;
  #chunks: Buffer[] = [];
  #bytes = 0;
  #ended = false;
  #wake: () => void = () => {};
  #dropping = false;

  constructor(connection: Readable, waits: Waits) {
    this.#connection = connection;
    this.#waits = waits;
    connection.on("data", (chunk: Buffer) => this.#take(chunk));
    connection.once("end", () => {
      this.#ended = true;
      this.#wake();
    });
  }

  /** All that has arrived, waiting for some; nothing at the end. @throws the reason of the waits' signal. */
  async next(): Promise<readonly Buffer[]> {
    if (this.#bytes === 0 && !this.#ended) {
      await this.#waits.until((done) => {
        this.#wake = done;
      });
    }
    const chunks = this.#chunks;
    this.#chunks = [];
    this.#bytes = 0;
    this.#connection.resume();
    return chunks;
  }

  /** Whether something has arrived that was not taken. */
  get waiting(): boolean {
    return this.#bytes > 0;
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
