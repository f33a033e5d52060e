import type { TapvisorError } from "../../base/errors.ts";
import { protocolError } from "./errors.ts";

export const HEADER_BYTES = 12;
/** What each side may send on a new stream before the first window update, and the most this side ever buffers for one stream. */
export const WINDOW_BYTES = 262_144;

export const TYPE = { data: 0, window: 1, ping: 2, goAway: 3 } as const;
export const FLAG = { syn: 1, ack: 2, fin: 4, rst: 8 } as const;
export const GO_AWAY = { normal: 0, protocol: 1, internal: 2 } as const;

const KNOWN_FLAGS = FLAG.syn | FLAG.ack | FLAG.fin | FLAG.rst;

/** One frame's header, version 0. `length` is a byte count, a window delta, a ping's value or a go-away code, by type. */
export function encodeHeader(type: number, flags: number, id: number, length: number): Buffer {
  const header = Buffer.allocUnsafe(HEADER_BYTES);
  header.writeUInt32BE((type << 16) | flags, 0);
  header.writeUInt32BE(id, 4);
  header.writeUInt32BE(length, 8);
  return header;
}

/** Takes the frames that a decoder finds. Each method returns false to end the decoding for good. */
export interface FrameSink {
  header(type: number, flags: number, id: number, length: number): boolean;
  /** A piece of the last data frame's payload: a view of the bytes pushed in, not a copy. */
  payload(bytes: Buffer): boolean;
  /** The last data frame is complete; its flags that end a stream take effect only now. */
  payloadEnd(): boolean;
  violation(error: TapvisorError<"GUEST_PROTOCOL">): void;
}

/** Cuts a byte stream into frames, however it was split. Keeps at most one header; after a violation it ignores everything. */
export class FrameDecoder {
  readonly #sink: FrameSink;
  readonly #partial = Buffer.allocUnsafeSlow(HEADER_BYTES);
  #partialBytes = 0;
  #payloadLeft = 0;
  #stopped = false;

  constructor(sink: FrameSink) {
    this.#sink = sink;
  }

  /** How many bytes the frame lacks of which a part has come. */
  get owed(): number {
    return this.#payloadLeft > 0 ? this.#payloadLeft : (HEADER_BYTES - this.#partialBytes) % HEADER_BYTES;
  }

  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length && !this.#stopped) at = this.#payloadLeft > 0 ? this.#takePayload(chunk, at) : this.#takeHeader(chunk, at);
  }

  stop(): void {
    this.#stopped = true;
  }

  #takePayload(chunk: Buffer, at: number): number {
    const end = Math.min(chunk.length, at + this.#payloadLeft);
    this.#payloadLeft -= end - at;
    const goOn = this.#sink.payload(at === 0 && end === chunk.length ? chunk : chunk.subarray(at, end));
    if (!goOn || (this.#payloadLeft === 0 && !this.#sink.payloadEnd())) this.#stopped = true;
    return end;
  }

  #takeHeader(chunk: Buffer, at: number): number {
    if (this.#partialBytes === 0 && chunk.length - at >= HEADER_BYTES) {
      this.#header(chunk, at);
      return at + HEADER_BYTES;
    }
    const end = Math.min(chunk.length, at + HEADER_BYTES - this.#partialBytes);
    chunk.copy(this.#partial, this.#partialBytes, at, end);
    this.#partialBytes += end - at;
    if (this.#partialBytes === HEADER_BYTES) {
      this.#partialBytes = 0;
      this.#header(this.#partial, 0);
    }
    return end;
  }

  #header(bytes: Buffer, at: number): void {
    const word = bytes.readUInt32BE(at);
    const type = (word >>> 16) & 0xff;
    const flags = word & 0xffff;
    const length = bytes.readUInt32BE(at + 8);
    const what = violationOf(word >>> 24, type, flags, length);
    if (what) {
      this.#stopped = true;
      this.#sink.violation(protocolError(what));
      return;
    }
    if (type === TYPE.data) this.#payloadLeft = length;
    const goOn = this.#sink.header(type, flags, bytes.readUInt32BE(at + 4), length);
    if (!goOn || (type === TYPE.data && length === 0 && !this.#sink.payloadEnd())) this.#stopped = true;
  }
}

function violationOf(version: number, type: number, flags: number, length: number): string | undefined {
  if (version !== 0) return `a yamux frame of version ${version}, wanted 0`;
  if (type > TYPE.goAway) return `a yamux frame of type ${type}, wanted 0 to 3`;
  if (flags & ~KNOWN_FLAGS) return `a yamux frame with flags 0x${flags.toString(16)}, wanted only those of 0xf`;
  if (type === TYPE.data && length > WINDOW_BYTES) return `a yamux frame of ${length} bytes, wanted at most ${WINDOW_BYTES}`;
  return undefined;
}
