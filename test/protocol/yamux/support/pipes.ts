import { Duplex } from "node:stream";
import { type YamuxSession, yamuxOver } from "tapvisor/protocol";

/** Two ends of a byte pipe with back-pressure; `splits` are the sizes, over and over, in which bytes arrive. */
export function pipePair(splits: readonly number[] = []): [Duplex, Duplex] {
  const first = new PipeEnd(splits);
  const second = new PipeEnd(splits);
  first.other = second;
  second.other = first;
  return [first, second];
}

class PipeEnd extends Duplex {
  other: PipeEnd | undefined;
  #room: (() => void) | undefined;
  readonly #splits: readonly number[];
  #turn = 0;

  constructor(splits: readonly number[]) {
    super();
    this.#splits = splits;
  }

  override _read(): void {
    const room = this.#room;
    this.#room = undefined;
    room?.();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    if (!this.other || this.other.destroyed) callback(new Error("the other end is gone"));
    else this.other.#arrive(chunk, callback);
  }

  override _final(callback: (error?: Error | null) => void): void {
    this.other?.push(null);
    callback();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    const { other } = this;
    if (other && !other.destroyed && !other.readableEnded) setImmediate(() => other.destroyed || other.push(null));
    this._read();
    callback(error);
  }

  #arrive(chunk: Buffer, taken: () => void): void {
    let room = true;
    for (let at = 0; at < chunk.length; ) {
      const size = this.#splits.length > 0 ? (this.#splits[this.#turn++ % this.#splits.length] ?? 1) : chunk.length;
      room = this.push(chunk.subarray(at, at + size));
      at += size;
    }
    if (room) setImmediate(taken);
    else this.#room = taken;
  }
}

/** A client and a server session over one pipe. */
export function sessionPair(options: { splits?: readonly number[]; maxStreams?: number } = {}) {
  const [near, far] = pipePair(options.splits);
  const limits = options.maxStreams === undefined ? {} : { maxStreams: options.maxStreams };
  const client = yamuxOver(near, { role: "client", ...limits });
  const server = yamuxOver(far, { role: "server", ...limits });
  return {
    client,
    server,
    [Symbol.asyncDispose]: async () => {
      await Promise.all([client.close(), server.close()]);
    },
  };
}

/** A session whose output is collected as bytes; `write` never blocks unless told to. */
export function collect(bytes: Buffer[] = []): { write(frames: readonly Buffer[]): Promise<void>; close(): void; all(): Buffer } {
  return {
    write: async (frames) => {
      bytes.push(...frames);
    },
    close: () => {},
    all: () => Buffer.concat(bytes),
  };
}

/** Reads to the end without ending the other direction, which an async iteration would. */
export async function readAll(stream: Duplex): Promise<Buffer> {
  const chunks: Buffer[] = [];
  await new Promise<void>((resolve, reject) => {
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    stream.once("end", resolve).once("error", reject);
  });
  return Buffer.concat(chunks);
}

export const nextStream = (session: YamuxSession): Promise<Duplex> =>
  new Promise((resolve) => {
    session.onStream = resolve;
  });

/** All that was queued in this turn of the program has been written when this resolves. */
export const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
