import { unlessAborted } from "./aborting.ts";

/** What a pipe of Linux holds, bytes. */
const CAPACITY = 65_536;

/** What a pipe holds, and whether its ends are still open. */
export interface SavedPipe {
  readonly chunks: readonly Uint8Array[];
  readonly ended: boolean;
  readonly broken: boolean;
}

/** A bounded pipe of bytes: a full one makes the writer wait, an empty one the reader. */
export class BytePipe {
  #chunks: Uint8Array[] = [];
  #size = 0;
  #ended = false;
  #broken = false;
  #waiting: (() => void)[] = [];

  /** An empty one, or what another was when it was saved. */
  constructor({ chunks, ended, broken }: SavedPipe = { chunks: [], ended: false, broken: false }) {
    this.#chunks = [...chunks];
    this.#size = chunks.reduce((size, { length }) => size + length, 0);
    this.#ended = ended;
    this.#broken = broken;
  }

  save(): SavedPipe {
    return { chunks: [...this.#chunks], ended: this.#ended, broken: this.#broken }; // a chunk never changes
  }

  get closed(): boolean {
    return this.#ended || this.#broken;
  }

  /** How many bytes it took: at least one, after waiting for room; 0 when nobody will ever read them. */
  async write(bytes: Uint8Array, signal: AbortSignal): Promise<number> {
    while (!this.closed && this.#size >= CAPACITY) await this.#change(signal);
    if (this.closed) return 0;
    const taken = bytes.slice(0, CAPACITY - this.#size);
    if (taken.length > 0) this.#chunks.push(taken);
    this.#size += taken.length;
    this.#wake();
    return taken.length;
  }

  /** The next bytes, after waiting for some; empty at the end. */
  async read(maxBytes: number, signal: AbortSignal): Promise<Uint8Array> {
    while (!this.closed && this.#size === 0) await this.#change(signal);
    const chunk = this.#chunks.shift();
    if (!chunk) return new Uint8Array(0);
    if (chunk.length > maxBytes) this.#chunks.unshift(chunk.subarray(maxBytes));
    const bytes = chunk.subarray(0, maxBytes);
    this.#size -= bytes.length;
    this.#wake();
    return bytes;
  }

  /** The writer is done: what is in it can still be read. */
  end(): void {
    this.#ended = true;
    this.#wake();
  }

  /** The reader is gone: what is in it is lost. */
  break(): void {
    this.#broken = true;
    this.#chunks = [];
    this.#size = 0;
    this.#wake();
  }

  #wake(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }

  #change(signal: AbortSignal): Promise<void> {
    const changed = new Promise<void>((resolve) => {
      this.#waiting.push(resolve);
    });
    return unlessAborted(signal, "waiting for a pipe", changed);
  }
}
