import { GUARD, GUARD_CUT } from "./resync.ts";

/** Up to here several small writes are copied into one frame; above it a write goes out as it is. */
const GATHER_BYTES = 16_384;

/** The bytes of one write of a stream, cut into payloads. */
export class SendQueue {
  #chunks: Buffer[] = [];
  #bytes = 0;
  readonly #guarded: boolean;

  /** `guarded`: no payload may hold GUARD. */
  constructor(guarded: boolean) {
    this.#guarded = guarded;
  }

  get empty(): boolean {
    return this.#bytes === 0;
  }

  set(chunks: readonly Buffer[]): void {
    this.#chunks = chunks.filter((chunk) => chunk.length > 0);
    this.#bytes = this.#chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  }

  clear(): void {
    this.#chunks = [];
    this.#bytes = 0;
  }

  /** Takes the next payload, 1 to `limit` bytes; call only when not empty. */
  take(limit: number): Buffer {
    const gathered = this.#gather(Math.min(limit, GATHER_BYTES));
    const whole = gathered.length > limit ? gathered.subarray(0, limit) : gathered;
    const guard = this.#guarded ? whole.indexOf(GUARD) : -1;
    const payload = guard < 0 ? whole : whole.subarray(0, guard + GUARD_CUT);
    this.#drop(payload.length);
    return payload;
  }

  /** The first chunk, or a copy of as many small ones as fit. */
  #gather(limit: number): Buffer {
    let count = 1;
    let bytes = this.#chunks[0]?.length ?? 0;
    for (; count < this.#chunks.length; count += 1) {
      bytes += this.#chunks[count]?.length ?? 0;
      if (bytes > limit) break;
    }
    return count > 1 ? Buffer.concat(this.#chunks.slice(0, count)) : (this.#chunks[0] as Buffer);
  }

  #drop(length: number): void {
    this.#bytes -= length;
    let left = length;
    let whole = 0;
    for (let first = this.#chunks[0]; first && left >= first.length; first = this.#chunks[whole]) {
      left -= first.length;
      whole += 1;
    }
    if (whole > 0) this.#chunks.splice(0, whole);
    if (left > 0 && this.#chunks[0]) this.#chunks[0] = this.#chunks[0].subarray(left);
  }
}
