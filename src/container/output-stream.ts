import { Readable } from "node:stream";
import { StringDecoder } from "node:string_decoder";
import { TapvisorError } from "../base/errors.ts";
import { formatBytes, KiB, MiB } from "../base/units.ts";

/** One request to the guest carries at most this much: a round trip to an emulated guest takes some 15 ms whatever its size. */
export const READ_BYTES = 256 * KiB;
const LONGEST_LINE = 1 * MiB;
const LONGEST_TEXT = 64 * MiB;

/** Where an output stream gets its bytes. */
export interface OutputSource {
  /** Bytes to ask for before the reader wants them: one that is asked for each piece is asked ahead, one that streams keeps its own ahead. */
  readonly readAhead: number;
  /** The next bytes, at most `maxBytes`, waiting for some; empty at the end. */
  read(maxBytes: number, signal: AbortSignal): Promise<Uint8Array>;
  /** The reader has so many bytes more for good. */
  taken(bytes: number): void;
  close(): void;
}

/**
 * A process's stdout or stderr: a Node stream of bytes with back-pressure down to the process's pipe, since the guest is asked for more only
 * when the reader takes what there is. It stays readable after the process has ended.
 *
 * A process whose output nobody reads blocks when the pipe and the buffers are full; call `resume()` to drop it.
 */
export class OutputStream extends Readable {
  readonly #source: OutputSource;
  readonly #stop = new AbortController();
  #reading = false;
  /** Bytes that were pushed and, as far as the source knows, are not the reader's yet. */
  #untold = 0;

  constructor(source: OutputSource) {
    super({ highWaterMark: Math.max(1, source.readAhead) });
    this.#source = source;
    // A script that does not read this stream must not die of its error; a reader gets it from its own read.
    this.on("error", () => {});
  }

  /** Asks for the first bytes at once, which saves a round trip later. */
  readAhead(): void {
    this.read(0);
  }

  /** Lines without their end, "\n" or "\r\n"; one longer than 1 MiB comes in pieces of that size. */
  async *lines(): AsyncGenerator<string, void, undefined> {
    const decoder = new StringDecoder("utf8");
    let rest = "";
    for await (const chunk of this) {
      rest += decoder.write(chunk as Buffer);
      let from = 0;
      for (let end = rest.indexOf("\n"); end !== -1; end = rest.indexOf("\n", from)) {
        yield rest.slice(from, rest[end - 1] === "\r" && end > from ? end - 1 : end);
        from = end + 1;
      }
      rest = rest.slice(from);
      for (; rest.length > LONGEST_LINE; rest = rest.slice(LONGEST_LINE)) yield rest.slice(0, LONGEST_LINE);
    }
    rest += decoder.end();
    if (rest) yield rest;
  }

  /** All that is left, as UTF-8. @throws GUEST_PROTOCOL past 64 MiB: read such output piece by piece. */
  async text(): Promise<string> {
    return (await this.bytes()).toString("utf8");
  }

  /** All that is left. @throws GUEST_PROTOCOL past 64 MiB. */
  async bytes(): Promise<Buffer> {
    const chunks: Buffer[] = [];
    let length = 0;
    for await (const chunk of this) {
      chunks.push(chunk as Buffer);
      length += (chunk as Buffer).length;
      if (length > LONGEST_TEXT) {
        throw new TapvisorError("GUEST_PROTOCOL", `Cannot collect the output: it is longer than ${formatBytes(LONGEST_TEXT)}`, {
          data: { what: "output" },
          hint: "read the stream piece by piece, or line by line with lines()",
        });
      }
    }
    return Buffer.concat(chunks, length);
  }

  override _read(): void {
    if (this.#reading) return;
    this.#reading = true;
    this.#tell();
    this.#source.read(READ_BYTES, this.#stop.signal).then(
      (chunk) => {
        this.#reading = false;
        this.#untold += chunk.length;
        this.push(chunk.length > 0 ? Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength) : null);
      },
      (error) => {
        this.#reading = false;
        this.destroy(error);
      },
    );
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#stop.abort();
    this.#tell();
    this.#source.close();
    callback(error);
  }

  /** What is in the buffer no longer, the reader has; Node asks for more right before it hands out the last of it. */
  #tell(): void {
    const taken = this.#untold - (this.destroyed ? this.readableLength : 0);
    this.#untold -= taken;
    this.#source.taken(taken);
  }
}
