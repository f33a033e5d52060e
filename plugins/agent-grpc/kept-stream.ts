import { throwIfAborted } from "tapvisor/plugin";

/** Read ahead of the reader at most, bytes: a program that writes more waits for its reader, as it does at a full pipe. */
const AHEAD_BYTES = 256 * 1024;
/** What is read at a time, bytes: the agent takes that much memory for each read. */
const CHUNK_BYTES = 64 * 1024;
/** What may still lie in a pipe whose writer has ended, bytes: the kernel makes none larger. */
const PIPE_BYTES = 1024 * 1024;

/** Asks for the next bytes of the stream; empty at its end. */
export type ReadChunk = (maxBytes: number, signal: AbortSignal) => Promise<Uint8Array>;

/**
 * Output of a process that is read here before somebody asks for it, since its agent drops what is unread when the process is waited for.
 * One request is on its way at a time, and the bytes it brings stay here whoever has given up meanwhile.
 */
export class KeptStream {
  readonly #readChunk: ReadChunk;
  readonly #stop = new AbortController();
  readonly #chunks: Uint8Array[] = [];
  #bytes = 0;
  #limit = AHEAD_BYTES;
  #ended: boolean;
  #fetching: Promise<void> | undefined;
  readonly #waiting: (() => void)[] = [];

  /** `ended`: there is nothing in it, and nobody is asked. */
  constructor(readChunk: ReadChunk, ended = false) {
    this.#readChunk = readChunk;
    this.#ended = ended;
  }

  /** The next bytes, waiting for some; empty at the end. */
  async read(maxBytes: number, signal: AbortSignal): Promise<Uint8Array> {
    while (this.#bytes === 0 && !this.#ended) await unlessAborted(this.#fetch(), signal);
    return this.#take(maxBytes);
  }

  /** Resolves when all that the process has written is here or has been read. */
  async drained(signal: AbortSignal): Promise<void> {
    while (!this.#ended) await unlessAborted(this.#bytes < this.#limit ? this.#fetch() : this.#room(), signal);
  }

  /** The process may be about to end, and nobody reads: what its pipe still holds has room here. */
  makeRoom(): void {
    this.#limit = Math.max(this.#limit, this.#bytes + PIPE_BYTES);
    this.#wake();
  }

  /** Nothing of it is wanted any more. */
  drop(): void {
    this.#stop.abort();
  }

  #take(maxBytes: number): Uint8Array {
    const [first] = this.#chunks;
    if (!first) return new Uint8Array(0);
    const taken = first.subarray(0, maxBytes);
    if (taken.length < first.length) this.#chunks[0] = first.subarray(taken.length);
    else this.#chunks.shift();
    this.#bytes -= taken.length;
    this.#wake();
    return taken;
  }

  #fetch(): Promise<void> {
    this.#fetching ??= this.#readChunk(CHUNK_BYTES, this.#stop.signal)
      .then((chunk) => {
        if (chunk.length === 0) this.#ended = true;
        else this.#chunks.push(chunk);
        this.#bytes += chunk.length;
      })
      .finally(() => {
        this.#fetching = undefined;
      });
    return this.#fetching;
  }

  /** Resolves when there may be room again. */
  #room(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
    });
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}

/** Waits for shared work; its failure is everybody's, giving up is the caller's own. @throws ABORTED */
async function unlessAborted(work: Promise<void>, signal: AbortSignal): Promise<void> {
  let onAbort = () => {};
  const aborted = new Promise<void>((resolve) => {
    onAbort = resolve;
    if (signal.aborted) resolve();
    signal.addEventListener("abort", resolve as () => void, { once: true });
  });
  try {
    await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
  throwIfAborted(signal, "reading the output of a process");
}
