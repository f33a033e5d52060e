import { TapvisorError } from "tapvisor/plugin";
import { MAX_HEADER_BLOCK } from "./limits.ts";

const FRAME_HEADER_BYTES = 9;
/** The largest frame that a client which asks for nothing else takes. */
const MAX_FRAME_BYTES = 16_384;
/** What a client sends before its first frame, bytes. */
const PREFACE_BYTES = 24;
/** The last stream and the error code of a GOAWAY. */
const GO_AWAY_BYTES = 8;

const TYPE = { headers: 1, pushPromise: 5, goAway: 7, continuation: 9 } as const;

/** Reads the heads of HTTP/2 frames in one direction of a connection, however its bytes are cut. */
class FrameHeads {
  readonly #head = Buffer.allocUnsafeSlow(FRAME_HEADER_BYTES + GO_AWAY_BYTES);
  #headBytes = 0;
  #wanted = FRAME_HEADER_BYTES;
  #skip: number;
  readonly #goAways: boolean;

  /** Skips `preface` bytes first; `goAways`: the head of a GOAWAY has its payload too. */
  constructor(preface: number, goAways: boolean) {
    this.#skip = preface;
    this.#goAways = goAways;
  }

  /** Calls `look` with each head that ends in the chunk until it answers something, and answers that. */
  read(chunk: Buffer, look: (length: number, type: number, head: Buffer) => string | undefined): string | undefined {
    for (let at = 0; at < chunk.length; ) {
      const skipped = Math.min(this.#skip, chunk.length - at);
      this.#skip -= skipped;
      at += skipped;
      const part = Math.min(this.#wanted - this.#headBytes, chunk.length - at);
      chunk.copy(this.#head, this.#headBytes, at, at + part);
      this.#headBytes += part;
      at += part;
      if (this.#headBytes < this.#wanted) return undefined;
      const [length, type] = [this.#head.readUIntBE(0, 3), this.#head.readUInt8(3)];
      if (this.#goAways && type === TYPE.goAway && this.#wanted === FRAME_HEADER_BYTES) {
        this.#wanted += GO_AWAY_BYTES;
        continue;
      }
      this.#skip = length - (this.#wanted - FRAME_HEADER_BYTES);
      this.#headBytes = 0;
      this.#wanted = FRAME_HEADER_BYTES;
      const said = look(length, type, this.#head);
      if (said !== undefined) return said;
    }
    return undefined;
  }
}

/**
 * Looks at the frames of a connection to a gRPC server beside Node's client, which trusts a server more than a guest may be trusted:
 * a stream that a server pushes belongs to nobody here, so its bytes stay in memory and its error, which nobody listens for, ends the process; and after
 * an error in the protocol the client waits, without reading, for the server to hang up.
 */
export class Http2Guard {
  readonly #received = new FrameHeads(0, false);
  readonly #sent = new FrameHeads(PREFACE_BYTES, true);
  /** Of the block of headers that is being received, bytes. */
  #block = 0;

  /** The reason not to pass bytes of the server on, if there is one; nothing that comes later may be passed on then. */
  received(chunk: Buffer): TapvisorError<"GUEST_PROTOCOL"> | undefined {
    return broken(this.#received.read(chunk, (length, type) => this.#wrong(length, type)));
  }

  /** Takes what the client sends; the reason when the client gives the connection up for an error of the server. */
  sent(chunk: Buffer): TapvisorError<"GUEST_PROTOCOL"> | undefined {
    return broken(
      this.#sent.read(chunk, (_, type, head) => {
        const code = type === TYPE.goAway ? head.readUInt32BE(FRAME_HEADER_BYTES + 4) : 0;
        return code === 0 ? undefined : `HTTP/2 with an error, of code ${code}`;
      }),
    );
  }

  #wrong(length: number, type: number): string | undefined {
    if (length > MAX_FRAME_BYTES) return `an HTTP/2 frame of ${length} bytes, wanted at most ${MAX_FRAME_BYTES}`;
    if (type === TYPE.pushPromise) return "a stream that nobody asked for";
    if (type !== TYPE.headers && type !== TYPE.continuation) return undefined;
    this.#block = length + (type === TYPE.continuation ? this.#block : 0);
    return this.#block > MAX_HEADER_BLOCK ? `headers of ${this.#block} bytes, wanted at most ${MAX_HEADER_BLOCK}` : undefined;
  }
}

function broken(what: string | undefined): TapvisorError<"GUEST_PROTOCOL"> | undefined {
  return what === undefined
    ? undefined
    : new TapvisorError("GUEST_PROTOCOL", `Cannot go on with the agent: it sent ${what}`, { data: { what } });
}
