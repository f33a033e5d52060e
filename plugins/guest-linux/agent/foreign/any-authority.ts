import { Duplex, pipeline, Transform, type TransformCallback } from "node:stream";
import { withUsualAuthority } from "./hpack.ts";

const PREFACE_BYTES = 24;
const HEADER_BYTES = 9;
const HEADERS = 1;
const END_HEADERS = 0x4;
const PADDED = 0x8;
const PRIORITY = 0x20;
/** The largest frame that an HTTP/2 server takes unless it says otherwise. */
const MAX_FRAME = 16_384;

/**
 * A client's HTTP/2 connection whose requests have an `:authority` that Node's HTTP/2 takes. Kata's clients send the path of the socket that they
 * dialled, as old gRPC libraries did; a strict server resets such a stream before anybody sees it, and cannot be told otherwise.
 */
export function acceptingAnyAuthority(connection: Duplex): Duplex {
  const inbound = new UsualAuthority();
  const outer = new Duplex({
    read: () => void inbound.resume(),
    write: (chunk: Buffer, _encoding, done) => void connection.write(chunk, done),
    final: (done) => void connection.end(done),
    destroy: (error, done) => {
      inbound.destroy();
      connection.destroy();
      done(error);
    },
  });
  inbound.on("data", (bytes) => {
    if (!outer.push(bytes)) inbound.pause();
  });
  // Such a client ends its half when it closes. HTTP/2 has no use for the other one, and Node's asserts that nothing is written to it then.
  pipeline(connection, inbound, () => outer.destroy());
  return outer;
}

class UsualAuthority extends Transform {
  /** Of what passes unseen. */
  #unseen = PREFACE_BYTES;
  /** The beginning of a frame whose rest has not come. */
  #begun: Buffer = Buffer.alloc(0);

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    let bytes = this.#begun.length > 0 ? Buffer.concat([this.#begun, chunk]) : chunk;
    this.#begun = Buffer.alloc(0);
    while (bytes.length > 0) {
      if (this.#unseen > 0) {
        const passing = bytes.subarray(0, this.#unseen);
        this.#unseen -= passing.length;
        this.push(passing);
        bytes = bytes.subarray(passing.length);
        continue;
      }
      const frame = bytes.length >= HEADER_BYTES ? HEADER_BYTES + bytes.readUIntBE(0, 3) : HEADER_BYTES;
      const isBlock = bytes[3] === HEADERS && frame <= HEADER_BYTES + MAX_FRAME;
      if (bytes.length < (isBlock ? frame : HEADER_BYTES)) {
        this.#begun = bytes;
        break;
      }
      if (isBlock) this.push(usualHeaders(bytes.subarray(0, frame)));
      else this.#unseen = frame;
      if (isBlock) bytes = bytes.subarray(frame);
    }
    done();
  }

  override _flush(done: TransformCallback): void {
    if (this.#begun.length > 0) this.push(this.#begun);
    done();
  }
}

/** A HEADERS frame; one that CONTINUATION goes on with is left as it is: no request of an agent's client is that long. */
function usualHeaders(frame: Buffer): Buffer {
  const flags = frame[4] ?? 0;
  if (!(flags & END_HEADERS)) return frame;
  const padding = flags & PADDED ? (frame[HEADER_BYTES] ?? 0) : 0;
  const start = HEADER_BYTES + (flags & PADDED ? 1 : 0);
  const blockStart = start + (flags & PRIORITY ? 5 : 0);
  if (blockStart + padding > frame.length) return frame;
  const block = withUsualAuthority(frame.subarray(blockStart, frame.length - padding));
  if (!block) return frame;
  const header = Buffer.from(frame.subarray(0, HEADER_BYTES));
  header.writeUIntBE(blockStart - start + block.length, 0, 3);
  header[4] = flags & ~PADDED;
  return Buffer.concat([header, frame.subarray(start, blockStart), block]);
}
