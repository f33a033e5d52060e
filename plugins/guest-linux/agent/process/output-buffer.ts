/** How much of a stream the agent holds for a reader that is slow, bytes; then the pipe fills, then the process waits. */
export const OUTPUT_BUFFER_BYTES = 1024 * 1024;

/** One read of a pipe gives no more. */
const READ_BYTES = 64 * 1024;
/** With less room than this no more is read: a read that is under way must still find some. */
const STOP_BYTES = 2 * READ_BYTES;
/** With this much room reading goes on. */
const GO_ON_BYTES = 4 * READ_BYTES;

/** Where the first bytes of every stream arrive: most streams that stay silent need no buffer. Used by one read at a time. */
const FIRST = Buffer.allocUnsafeSlow(READ_BYTES);

const NOTHING = { at: 0, bytes: Buffer.alloc(0) };

/**
 * A ring of bytes between a pipe and its readers, filled and read in place: under emulation a copy, and fresh memory even more, costs as much as
 * the reading. Bytes are taken in order, and their room is free again when they are released, in the same order; what was taken and not
 * released can be taken again.
 */
export class OutputBuffer {
  #ring: Buffer | undefined;
  /** Positions in the stream, bytes from its start: released <= taken <= filled. */
  #released = 0;
  #taken = 0;
  #filled = 0;
  #region: Buffer = FIRST;
  /** What was left when the last byte had come, and where that begins in the stream. */
  #rest: { readonly at: number; readonly bytes: Buffer } | undefined;

  /** Where the next byte to be taken stands in the stream. */
  get position(): number {
    return this.#taken;
  }

  /** Bytes that nobody has taken. */
  get available(): number {
    return this.#filled - this.#taken;
  }

  /** Whether there is room enough to go on after `filled` has said stop. */
  get hasRoom(): boolean {
    return this.#room >= GO_ON_BYTES;
  }

  /** Where the next bytes of the pipe go. */
  get region(): Buffer {
    return this.#region;
  }

  /** The first `bytes` of the region are filled, and there is a new one. False: read no more until there is room. */
  filled(bytes: number): boolean {
    if (this.#region === FIRST) {
      this.#ring = Buffer.allocUnsafeSlow(OUTPUT_BUFFER_BYTES);
      FIRST.copy(this.#ring, 0, 0, bytes);
    }
    this.#filled += bytes;
    const at = this.#filled % OUTPUT_BUFFER_BYTES;
    this.#region = this.#store.subarray(at, at + Math.min(READ_BYTES, this.#room));
    return this.#room >= STOP_BYTES;
  }

  /** The next bytes, at most `maxBytes`: a view that is good until they are released. Undefined when there are none. */
  take(maxBytes: number): Buffer | undefined {
    if (this.available === 0) return undefined;
    const [store, at] = this.#rest ? [this.#rest.bytes, this.#taken - this.#rest.at] : [this.#store, this.#taken % OUTPUT_BUFFER_BYTES];
    const view = store.subarray(at, at + Math.min(maxBytes, this.available));
    this.#taken += view.length;
    return view;
  }

  /** The oldest bytes that were taken are needed no more. */
  release(bytes: number): void {
    this.#released += bytes;
    if (this.#rest && this.#released === this.#filled) this.#rest = NOTHING;
  }

  /**
   * No more will come: keeps what is left in no more room than it takes. The streams of a thousand processes that have ended are kept, and with their rings
   * the agent would be larger than the guest's memory, which the kernel lets no process be that it is to fork.
   */
  finish(): void {
    if (this.#rest) return;
    const bytes = Buffer.allocUnsafeSlow(this.#filled - this.#released);
    for (let at = 0; at < bytes.length; ) at += this.#store.copy(bytes, at, (this.#released + at) % OUTPUT_BUFFER_BYTES);
    this.#drop({ at: this.#released, bytes });
  }

  /** Nobody wants any more of it; what was taken is good still. */
  discard(): void {
    this.#taken = this.#filled;
    this.#drop(NOTHING);
  }

  #drop(rest: { readonly at: number; readonly bytes: Buffer }): void {
    this.#rest = rest;
    this.#ring = undefined;
    this.#region = FIRST; // a part of the ring would keep all of it
  }

  /** What was taken and not released is there again. */
  rewind(): void {
    this.#taken = this.#released;
  }

  get #room(): number {
    return OUTPUT_BUFFER_BYTES - (this.#filled - this.#released);
  }

  get #store(): Buffer {
    return this.#ring ?? FIRST;
  }
}
