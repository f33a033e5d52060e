import { Mutex } from "tapvisor/plugin";
import { StatusError } from "../status.ts";
import { OutputBuffer } from "./output-buffer.ts";
import type { OpenSource, OutputSource } from "./output-source.ts";

export { OUTPUT_BUFFER_BYTES } from "./output-buffer.ts";

/** A piece of a stream and where it stands in it, bytes from the start. */
export interface OutputChunk {
  readonly at: number;
  readonly data: Buffer;
}

/** A reader that has its turn, and says itself what it has for good. */
export interface OutputTurn {
  /** The next bytes, at most `maxBytes`; waits for some, and is empty at the end. Good until they are acknowledged. @throws the signal's reason. */
  next(maxBytes: number, signal: AbortSignal): Promise<Buffer>;
  /** The oldest `bytes` of what was given are the reader's. @throws INVALID_ARGUMENT when that is more than was given. */
  acknowledge(bytes: number): void;
  /** How much was given and is not acknowledged. */
  readonly unacknowledged: number;
}

/** What a process writes to its standard output or error. Nothing is lost when the process ends first. */
export class OutputStream {
  readonly #buffer = new OutputBuffer();
  readonly #source: OutputSource;
  readonly #turns = new Mutex();
  /** What readers gave back, in the order of the stream, which need not be the order in which it came back. */
  #returned: OutputChunk[] = [];
  #waiting = new Set<() => void>();
  #full = false;
  #ended = false;
  #discarded = false;

  constructor(open: OpenSource) {
    this.#source = open(this.#buffer, {
      filled: () => {
        this.#full = !this.#buffer.hasRoom;
        this.#wake();
      },
      ended: () => {
        this.#ended = true;
        this.#buffer.finish();
        this.#wake();
      },
    });
  }

  /**
   * The next bytes, at most `maxBytes`; waits for some, and is empty at the end, again and again. Readers take turns.
   * @throws ABORTED when the signal fires first; no byte is taken then.
   */
  read(maxBytes: number, signal?: AbortSignal): Promise<OutputChunk> {
    return this.#turns.run(async () => {
      await this.#readable(signal);
      const returned = this.#takeReturned(maxBytes);
      if (returned) return returned;
      const at = this.#buffer.position;
      const data = Buffer.from(this.#takeBuffered(maxBytes));
      this.#release(data.length);
      return { at, data };
    }, signal);
  }

  /** Takes back what a read answered and did not get through: the next read has it again. */
  giveBack(chunk: OutputChunk): void {
    if (chunk.data.length > 0 && !this.#discarded) this.#returned = [...this.#returned, chunk].sort((a, b) => a.at - b.at);
    this.#wake();
  }

  /** Gives `body` the turn until it has ended. What it was given and has not acknowledged by then, the next reader gets. @throws ABORTED, what `body` throws. */
  follow(signal: AbortSignal, body: (turn: OutputTurn) => Promise<void>): Promise<void> {
    return this.#turns.run(async () => {
      /** What the reader was given, in that order: its own length unless part of it was acknowledged. */
      const given: { bytes: number; readonly returned: OutputChunk | undefined }[] = [];
      let unacknowledged = 0;
      const give = (data: Buffer, returned?: OutputChunk) => {
        if (data.length > 0) given.push({ bytes: data.length, returned });
        unacknowledged += data.length;
        return data;
      };
      const turn: OutputTurn = {
        next: async (maxBytes, stop) => {
          await this.#readable(stop);
          const returned = this.#takeReturned(maxBytes);
          return returned ? give(returned.data, returned) : give(this.#takeBuffered(maxBytes));
        },
        acknowledge: (bytes) => {
          if (bytes > unacknowledged)
            throw new StatusError("INVALID_ARGUMENT", `${bytes} bytes are acknowledged, of ${unacknowledged} given`);
          unacknowledged -= bytes;
          for (let left = bytes, first = given[0]; first && left > 0; first = given[0]) {
            const part = Math.min(left, first.bytes);
            first.bytes -= part;
            left -= part;
            if (!first.returned) this.#release(part);
            if (first.bytes === 0) given.shift();
          }
        },
        get unacknowledged() {
          return unacknowledged;
        },
      };
      try {
        await body(turn);
      } finally {
        this.#buffer.rewind();
        for (const { bytes, returned } of given) if (returned) this.giveBack(lastOf(returned, bytes));
      }
    }, signal);
  }

  /** Throws away what has not been read; later reads are empty. */
  discard(): void {
    this.#discarded = true;
    this.#returned = [];
    this.#source.destroy();
    this.#buffer.discard();
    this.#wake();
  }

  /** Waits until there are bytes to take, or the end. */
  async #readable(signal: AbortSignal | undefined): Promise<void> {
    while (!this.#discarded && !this.#ended && this.#returned.length === 0 && this.#buffer.available === 0) await this.#change(signal);
  }

  #takeReturned(maxBytes: number): OutputChunk | undefined {
    const first = this.#returned.shift();
    if (!first || first.data.length <= maxBytes) return first;
    this.#returned.unshift(lastOf(first, first.data.length - maxBytes));
    return { at: first.at, data: first.data.subarray(0, maxBytes) };
  }

  #takeBuffered(maxBytes: number): Buffer {
    return (this.#discarded ? undefined : this.#buffer.take(maxBytes)) ?? NOTHING;
  }

  #release(bytes: number): void {
    this.#buffer.release(bytes);
    if (!this.#full || !this.#buffer.hasRoom) return;
    this.#full = false;
    this.#source.resume();
  }

  #change(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const done = () => {
        this.#waiting.delete(done);
        signal?.removeEventListener("abort", done);
        if (signal?.aborted) reject(signal.reason);
        else resolve();
      };
      this.#waiting.add(done);
      signal?.addEventListener("abort", done, { once: true });
      if (signal?.aborted) done();
    });
  }

  #wake(): void {
    for (const wake of [...this.#waiting]) wake();
  }
}

const NOTHING = Buffer.alloc(0);

function lastOf({ at, data }: OutputChunk, bytes: number): OutputChunk {
  return { at: at + data.length - bytes, data: data.subarray(data.length - bytes) };
}
