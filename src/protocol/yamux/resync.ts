/**
 * How a new host connection and the guest find a common beginning on a byte pipe that has none.
 *
 * A virtio-serial port outlives its host connections. After a reconnect the guest may stand in the middle of a frame that will never be
 * finished, and bytes of the old session may still reach the new connection. So a session begins with an announcement that the guest finds
 * at any offset, and an answer that the host finds at any offset:
 *
 *   announcement   96 bytes, host to guest: eight yamux pings: 3 of the mark, 4 of a fresh random nonce (124 bits), 1 that seals it
 *   answer         48 bytes, guest to host: the echoes of the nonce's four pings
 *
 * Both are plain yamux, so an unmodified server (Kata 1.x) answers too, when it stands between two frames, as on a first connection.
 *
 * Host: writes the announcement, the same one again when no answer comes, and discards everything until it has seen the four echoes, in any
 * order (HashiCorp's server answers each ping on a thread of its own). Stale bytes were made before the nonce and cannot hold it. The host writes
 * nothing else before, so what follows the echoes belongs to the new session, but for the echoes of a repetition, which mean nothing to it.
 *
 * Guest: looks for the mark in all that arrives, all the time. From the mark on nothing reaches the old session, which would otherwise echo
 * the nonce itself and go on talking. When the seal is in its place, the old session's output is dropped, the answer is written, and a new
 * session begins. A host that dies within its announcement leaves a mark without a seal: the search goes on right behind the mark's first
 * byte, so the next announcement is found whole.
 *
 * Nobody can forge the mark from inside a payload (a container's stdin, say). The client side of a session, which alone can announce, never
 * sends GUARD, the middle of the mark, inside one payload: it ends the frame within it, and the next frame's header breaks the pattern. And
 * no header it can send stands within a mark: at any offset that touches GUARD the mark reads as a header of an unknown version or type,
 * unknown flags, a payload of 131,073 bytes or more, a window delta above 2^31 or a ping above 2^31, none of which it sends. A client that does not
 * do this (a foreign one) does not announce itself either, and in its session the mark counts only until it opens its first stream.
 */
import { randomBytes } from "node:crypto";
import { encodeHeader, FLAG, HEADER_BYTES, TYPE } from "./codec.ts";

/** First bytes are rare in text and no part of UTF-8, so that the search seldom stops; all bytes are above 0x7f, for the reasons above. */
const MARK_VALUES = [0xf5d8c6fd, 0xf6cab9e4, 0xf7bed2e8] as const;
const SEAL_VALUE = 0xf8acd6f1;
const NONCE_VALUES = 4;

const ping = (value: number) => encodeHeader(TYPE.ping, FLAG.syn, 0, value);
const echo = (value: number) => encodeHeader(TYPE.ping, FLAG.ack, 0, value);

const MARK = Buffer.concat(MARK_VALUES.map(ping));
const SEAL = ping(SEAL_VALUE);
const NONCE_BYTES = NONCE_VALUES * HEADER_BYTES;
export const ANNOUNCEMENT_BYTES = MARK.length + NONCE_BYTES + SEAL.length;

/** The part of the mark that a payload never holds whole: so far inside that any header which touches it lies within the mark. */
export const GUARD = MARK.subarray(HEADER_BYTES - 1, 2 * HEADER_BYTES + 1);
/** Where a payload that holds GUARD is cut, counted from its start. */
export const GUARD_CUT = 6;

/** The mark from its first rare byte on, which a search finds quickest. */
const NEEDLE_OFFSET = 8;
const NEEDLE = MARK.subarray(NEEDLE_OFFSET);

/** The random part of an announcement: four ping values below 2^31. */
export type Nonce = readonly number[];

export function newNonce(): Nonce {
  const bytes = randomBytes(NONCE_VALUES * 4);
  return Array.from({ length: NONCE_VALUES }, (_, index) => bytes.readUInt32BE(index * 4) >>> 1);
}

/** What the host writes first. */
export function announcement(nonce: Nonce): Buffer {
  return Buffer.concat([MARK, ...nonce.map(ping), SEAL]);
}

/** What the guest writes first. */
export function answer(nonce: Nonce): Buffer {
  return Buffer.concat(nonce.map(echo));
}

/** Host side: discards bytes until all echoes of its nonce have come. */
export class AnswerScanner {
  readonly #wanted: Set<number>;
  #tail = Buffer.alloc(0);
  #discarded = 0;

  constructor(nonce: Nonce) {
    this.#wanted = new Set(nonce);
  }

  /** Bytes of older sessions seen so far, the answer itself not counted. */
  get discarded(): number {
    return this.#discarded;
  }

  /** Returns the bytes behind the answer once it is complete. */
  push(chunk: Buffer): Buffer | undefined {
    const bytes = this.#tail.length > 0 ? Buffer.concat([this.#tail, chunk]) : chunk;
    let from = 0;
    for (let at = bytes.indexOf(ECHO_START); at >= 0 && at + HEADER_BYTES <= bytes.length; at = bytes.indexOf(ECHO_START, at + 1)) {
      if (!this.#wanted.delete(bytes.readUInt32BE(at + ECHO_START.length))) continue;
      this.#discarded += at - from;
      from = at + HEADER_BYTES;
      if (this.#wanted.size === 0) return bytes.subarray(from);
    }
    const keep = Math.max(from, bytes.length - HEADER_BYTES + 1);
    this.#discarded += keep - from;
    this.#tail = Buffer.from(bytes.subarray(keep));
    return undefined;
  }
}

const ECHO_START = echo(0).subarray(0, HEADER_BYTES - 4);

/** What the guest's side does with what the scanner finds. */
export interface AnnouncementSink {
  /** Bytes of the present session. */
  pass(bytes: Buffer): void;
  /** A mark begins behind what was passed: whether it counts. If so, nothing more is passed before `announced`. */
  marked(): boolean;
  announced(nonce: Nonce): void;
}

/** Guest side: finds announcements in all that arrives, at any offset and however split. Holds back nothing but what follows a mark. */
export class AnnouncementScanner {
  readonly #sink: AnnouncementSink;
  /** The last bytes passed, where a mark may have begun. */
  #tail = Buffer.alloc(0);
  /** An announcement from its mark on. */
  #begun: Buffer | undefined;

  constructor(sink: AnnouncementSink) {
    this.#sink = sink;
  }

  /** Whether these bytes, the first of a connection, are the beginning of a mark. */
  static mayBegin(bytes: Buffer): boolean {
    return bytes.length < MARK.length && MARK.subarray(0, bytes.length).equals(bytes);
  }

  push(chunk: Buffer): void {
    for (let rest = chunk; rest.length > 0; ) rest = this.#begun ? this.#collect(this.#begun, rest) : this.#search(rest);
  }

  /** Forgets what came before: the connection it came from is known to be gone. */
  reset(): void {
    this.#tail = Buffer.alloc(0);
    this.#begun = undefined;
  }

  #search(bytes: Buffer): Buffer {
    const at = this.#find(bytes);
    if (at === undefined) {
      this.#sink.pass(bytes);
      this.#remember(bytes);
      return NOTHING;
    }
    const end = at + MARK.length;
    if (at > 0) this.#sink.pass(bytes.subarray(0, at));
    this.#tail = Buffer.alloc(0);
    if (this.#sink.marked()) this.#begun = MARK;
    else this.#sink.pass(bytes.subarray(Math.max(at, 0), end));
    return bytes.subarray(end);
  }

  /** Where a mark begins that ends in these bytes; negative when it began in earlier ones. */
  #find(bytes: Buffer): number | undefined {
    if (this.#tail.length > 0) {
      const seam = Buffer.concat([this.#tail, bytes.subarray(0, MARK.length - 1)]);
      const at = seam.indexOf(MARK);
      if (at >= 0) return at - this.#tail.length;
    }
    for (let at = bytes.indexOf(NEEDLE, NEEDLE_OFFSET); at >= 0; at = bytes.indexOf(NEEDLE, at + 1)) {
      const start = at - NEEDLE_OFFSET;
      if (MARK.compare(bytes, start, at, 0, NEEDLE_OFFSET) === 0) return start;
    }
    return undefined;
  }

  #remember(bytes: Buffer): void {
    const keep = MARK.length - 1;
    const joined = bytes.length >= keep ? bytes : Buffer.concat([this.#tail, bytes]);
    this.#tail = Buffer.from(joined.subarray(Math.max(0, joined.length - keep)));
  }

  #collect(begun: Buffer, bytes: Buffer): Buffer {
    const whole = Buffer.concat([begun, bytes.subarray(0, ANNOUNCEMENT_BYTES - begun.length)]);
    const rest = bytes.subarray(whole.length - begun.length);
    this.#begun = whole.length < ANNOUNCEMENT_BYTES ? whole : undefined;
    if (this.#begun) return NOTHING;
    const nonce = nonceOf(whole);
    if (!nonce) return Buffer.concat([whole.subarray(1), rest]);
    this.#sink.announced(nonce);
    return rest;
  }
}

const NOTHING = Buffer.alloc(0);

/** The nonce of a whole announcement; undefined when it is cut short by another one. */
function nonceOf(bytes: Buffer): Nonce | undefined {
  const nonce = Array.from({ length: NONCE_VALUES }, (_, index) => bytes.readUInt32BE(MARK.length + index * HEADER_BYTES + 8));
  return bytes.equals(announcement(nonce)) ? nonce : undefined;
}
