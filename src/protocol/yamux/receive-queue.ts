const BLOCK_BYTES = 8192;

/**
 * Bytes received and not yet wanted by the reader, in order.
 *
 * A view keeps the whole chunk it points into alive, so a peer that sends single bytes between other traffic could pin far more
 * than a window. Small pieces are therefore gathered in blocks, and a view is kept only when it is most of its chunk.
 */
export class ReceiveQueue {
  #blocks: Buffer[] = [];
  #head = 0;
  /** The last block's storage, of which `#tailUsed` bytes are filled; absent when the last block is not ours to append to. */
  #tail: Buffer | undefined;
  #tailUsed = 0;

  get empty(): boolean {
    return this.#head === this.#blocks.length;
  }

  append(bytes: Buffer): void {
    if (bytes.length >= BLOCK_BYTES) {
      this.#tail = undefined;
      this.#blocks.push(bytes.length * 2 >= bytes.buffer.byteLength ? bytes : copyOf(bytes));
      return;
    }
    const fits = this.#tail ? Math.min(bytes.length, BLOCK_BYTES - this.#tailUsed) : 0;
    if (this.#tail && fits > 0) {
      bytes.copy(this.#tail, this.#tailUsed, 0, fits);
      this.#tailUsed += fits;
      this.#blocks[this.#blocks.length - 1] = this.#tail.subarray(0, this.#tailUsed);
    }
    if (fits === bytes.length) return;
    this.#tail = Buffer.allocUnsafeSlow(BLOCK_BYTES);
    this.#tailUsed = bytes.copy(this.#tail, 0, fits);
    this.#blocks.push(this.#tail.subarray(0, this.#tailUsed));
  }

  shift(): Buffer | undefined {
    const block = this.#blocks[this.#head];
    if (!block) return undefined;
    this.#head += 1;
    if (this.empty) this.clear();
    return block;
  }

  clear(): void {
    this.#blocks = [];
    this.#head = 0;
    this.#tail = undefined;
  }
}

function copyOf(bytes: Buffer): Buffer {
  const copy = Buffer.allocUnsafeSlow(bytes.length);
  bytes.copy(copy);
  return copy;
}
