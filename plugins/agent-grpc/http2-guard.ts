import { TapvisorError } from "tapvisor/plugin";
import { MAX_HEADER_BLOCK } from "./limits.ts";

const FRAME_HEADER_BYTES = 9;
/** The largest frame that a client which asks for nothing else takes. */
const MAX_FRAME_BYTES = 16_384;

const TYPE = { headers: 1, pushPromise: 5, continuation: 9 } as const;

/**
 * Looks at the frames of an HTTP/2 server before Node's client does, which trusts a server more than a guest may be trusted: a stream that a server
 * pushes belongs to nobody here, so its bytes stay in memory and its error, which nobody listens for, ends the process.
 */
export class Http2Guard {
  readonly #header = Buffer.allocUnsafeSlow(FRAME_HEADER_BYTES);
  #headerBytes = 0;
  #payloadLeft = 0;
  /** Of the block of headers that is being sent, bytes. */
  #block = 0;

  /** The reason not to pass these bytes on, if there is one; nothing that comes later may be passed on then. */
  check(chunk: Buffer): TapvisorError<"GUEST_PROTOCOL"> | undefined {
    for (let at = 0; at < chunk.length; ) {
      const payload = Math.min(this.#payloadLeft, chunk.length - at);
      this.#payloadLeft -= payload;
      at += payload;
      const part = Math.min(FRAME_HEADER_BYTES - this.#headerBytes, chunk.length - at);
      chunk.copy(this.#header, this.#headerBytes, at, at + part);
      this.#headerBytes += part;
      at += part;
      if (this.#headerBytes < FRAME_HEADER_BYTES) break;
      this.#headerBytes = 0;
      this.#payloadLeft = this.#header.readUIntBE(0, 3);
      const what = this.#wrong(this.#payloadLeft, this.#header.readUInt8(3));
      if (what) return new TapvisorError("GUEST_PROTOCOL", `Cannot go on with the agent: it sent ${what}`, { data: { what } });
    }
    return undefined;
  }

  #wrong(length: number, type: number): string | undefined {
    if (length > MAX_FRAME_BYTES) return `an HTTP/2 frame of ${length} bytes, wanted at most ${MAX_FRAME_BYTES}`;
    if (type === TYPE.pushPromise) return "a stream that nobody asked for";
    if (type !== TYPE.headers && type !== TYPE.continuation) return undefined;
    this.#block = length + (type === TYPE.continuation ? this.#block : 0);
    return this.#block > MAX_HEADER_BLOCK ? `headers of ${this.#block} bytes, wanted at most ${MAX_HEADER_BLOCK}` : undefined;
  }
}
