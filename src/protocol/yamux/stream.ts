import { Duplex } from "node:stream";
import { encodeHeader, FLAG, HEADER_BYTES, TYPE, WINDOW_BYTES } from "./codec.ts";
import { resetByPeer } from "./errors.ts";
import { ReceiveQueue } from "./receive-queue.ts";
import { SendQueue } from "./send-queue.ts";

/**
 * Small enough that other streams and pings get their turn soon, large enough that a header costs little; with its header it is a multiple of
 * the 32 KiB that a guest's port takes at once. See resync.ts before making it larger.
 */
const MAX_FRAME_BYTES = 4 * 32_768 - HEADER_BYTES;

/** Frames on their way out together, and whom to tell when they have gone. */
export interface Batch {
  readonly frames: Buffer[];
  bytes: number;
  readonly sent: (() => void)[];
}

/** What a stream needs of its session. */
export interface StreamLink {
  /** The stream has something to send. */
  ready(stream: YamuxStream): void;
  /** The stream is over; `reset` when the other side has to be told. */
  gone(stream: YamuxStream, reset: boolean): void;
  /** Payloads must never hold GUARD. */
  readonly guarded: boolean;
}

/**
 * One stream of a session: a plain Duplex.
 *
 * `end()` half-closes; `destroy()` before both sides have ended resets. It buffers at most one window for a reader that has paused,
 * and grants the other side more only as the reader takes it. An error that nobody listens for is kept, not thrown: when a session
 * ends, all its streams end with it, and the reason is also the session's.
 */
export class YamuxStream extends Duplex {
  readonly id: number;
  /** Stands in the sender's round. */
  queued = false;
  readonly #link: StreamLink;
  #flags: number;

  readonly #received = new ReceiveQueue();
  #receiveWindow = WINDOW_BYTES;
  #wanted = false;
  #unread = 0;
  #credit = 0;
  /** What the other side may send ahead of the reader. */
  #windowBytes = WINDOW_BYTES;
  #widened = false;
  #remoteEnded = false;
  #endGiven = false;

  readonly #out: SendQueue;
  #outSent: (() => void) | undefined;
  #sendWindow = WINDOW_BYTES;
  #finish: (() => void) | undefined;
  #finSent = false;
  #cutOff = false;

  /** `windowBytes`: what the other side may send ahead of the reader, `WINDOW_BYTES` or more. */
  constructor(link: StreamLink, id: number, firstFlag: number, windowBytes = WINDOW_BYTES) {
    // The mark of 1 makes push() say at once whether somebody reads: what nobody reads waits in our own queue, which packs it.
    super({ readableHighWaterMark: 1, writableHighWaterMark: MAX_FRAME_BYTES });
    this.id = id;
    this.#link = link;
    this.#flags = firstFlag;
    this.#out = new SendQueue(link.guarded);
    this.on("error", () => {});
    this.#widen(windowBytes);
  }

  /** Lets the other side send so many bytes ahead of the reader from now on, which may be buffered here; fewer than before change nothing. */
  widen(windowBytes: number): void {
    this.#widen(windowBytes);
    if (this.#widened && !this.destroyed) this.#link.ready(this);
  }

  /** Reserves room for a frame's payload; false when the other side has passed its window or its own end. */
  admit(length: number): boolean {
    if (length > this.#receiveWindow || (this.#remoteEnded && length > 0)) return false;
    this.#receiveWindow -= length;
    return true;
  }

  receive(bytes: Buffer): void {
    if (this.#wanted && this.#received.empty) this.#give(bytes);
    else this.#received.append(bytes);
  }

  /** The other side sends no more; false when it had said so before. */
  remoteEnd(): boolean {
    if (this.#remoteEnded) return false;
    this.#remoteEnded = true;
    this.#giveEnd();
    return true;
  }

  remoteReset(): void {
    this.#cutOff = true;
    this.destroy(resetByPeer(this.id));
  }

  /** A stream that both sides have ended may still be read to its end; any other ends with the session. */
  sessionEnded(reason: Error): void {
    this.#cutOff = true;
    if (!(this.#finSent && this.#remoteEnded)) this.destroy(reason);
  }

  /** False when the window would pass what its 32 bits can say. */
  grant(delta: number): boolean {
    this.#sendWindow += delta;
    if (this.#sendWindow > 0xffff_ffff) return false;
    if (!this.#out.empty) this.#link.ready(this);
    return true;
  }

  get hasFrame(): boolean {
    return this.#flags !== 0 || this.#creditDue || this.#finDue || this.#canSend;
  }

  /** Adds the stream's next frame to the batch; call only when `hasFrame`. */
  takeFrame(batch: Batch): void {
    if (this.#creditDue || this.#finDue || !this.#canSend) this.#takeWindow(batch);
    else {
      this.#takeData(batch);
      this.#flags = 0;
      if (this.#credit >= this.#windowBytes / 4 && !this.#remoteEnded) this.#takeWindow(batch); // saves a frame, and the turn it takes, of its own
    }
    this.#flags = 0;
  }

  get #canSend(): boolean {
    return !this.#out.empty && this.#sendWindow > 0;
  }

  get #creditDue(): boolean {
    return (this.#widened || this.#credit >= this.#windowBytes / 2) && !this.#remoteEnded;
  }

  get #finDue(): boolean {
    return this.#finish !== undefined;
  }

  #takeWindow(batch: Batch): void {
    const fin = this.#finish;
    batch.frames.push(encodeHeader(TYPE.window, this.#flags | (fin ? FLAG.fin : 0), this.id, this.#credit));
    this.#receiveWindow += this.#credit;
    this.#credit = 0;
    this.#widened = false;
    if (!fin) return;
    this.#finish = undefined;
    this.#finSent = true;
    batch.sent.push(fin);
  }

  #widen(windowBytes: number): void {
    const more = windowBytes - this.#windowBytes;
    if (more <= 0) return;
    this.#windowBytes = windowBytes;
    this.#credit += more;
    this.#widened = true;
  }

  #takeData(batch: Batch): void {
    const payload = this.#out.take(Math.min(this.#sendWindow, MAX_FRAME_BYTES));
    this.#sendWindow -= payload.length;
    batch.frames.push(encodeHeader(TYPE.data, this.#flags, this.id, payload.length), payload);
    batch.bytes += payload.length;
    if (!this.#out.empty || !this.#outSent) return;
    batch.sent.push(this.#outSent);
    this.#outSent = undefined;
  }

  #give(bytes: Buffer): void {
    this.#unread += bytes.length;
    this.#wanted = this.push(bytes);
    if (this.#wanted) this.#creditUnread();
  }

  #giveEnd(): void {
    if (!this.#remoteEnded || this.#endGiven || !this.#received.empty) return;
    this.#endGiven = true;
    this.push(null);
  }

  #creditUnread(): void {
    this.#credit += this.#unread;
    this.#unread = 0;
    if (this.#creditDue) this.#link.ready(this);
  }

  override _read(): void {
    this.#wanted = true;
    this.#creditUnread();
    for (let block = this.#received.shift(); block; block = this.#wanted ? this.#received.shift() : undefined) this.#give(block);
    this.#giveEnd();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    this.#send([chunk], callback);
  }

  override _writev(chunks: { chunk: Buffer }[], callback: (error?: Error | null) => void): void {
    this.#send(
      chunks.map((each) => each.chunk),
      callback,
    );
  }

  #send(chunks: Buffer[], callback: () => void): void {
    this.#out.set(chunks);
    this.#outSent = callback;
    if (this.#canSend) this.#link.ready(this);
    else if (this.#out.empty) callback();
  }

  override _final(callback: (error?: Error | null) => void): void {
    this.#finish = callback;
    this.#link.ready(this);
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    const unknownToPeer = (this.#flags & FLAG.syn) !== 0;
    this.#link.gone(this, !(this.#cutOff || unknownToPeer || (this.#finSent && this.#remoteEnded)));
    this.#received.clear();
    this.#out.clear();
    callback(error);
  }
}
