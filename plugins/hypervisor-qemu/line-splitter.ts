import { MiB } from "tapvisor/plugin";

/** No answer of QEMU comes near it; what does is garbage, and must not fill the memory. */
export const LINE_BYTES = 16 * MiB;

/** Cuts a byte stream into lines, whatever the chunks. */
export class LineSplitter {
  #parts: Buffer[] = [];
  #length = 0;

  /** The lines that `chunk` completes, empty ones left out. @throws Error when a line is longer than 16 MiB. */
  *push(chunk: Buffer): Generator<string> {
    let start = 0;
    for (let end = chunk.indexOf(0x0a); end !== -1; end = chunk.indexOf(0x0a, start)) {
      this.#keep(chunk.subarray(start, end));
      start = end + 1;
      const line = Buffer.concat(this.#parts, this.#length).toString("utf8").trim();
      this.#parts = [];
      this.#length = 0;
      if (line !== "") yield line;
    }
    this.#keep(chunk.subarray(start));
  }

  #keep(part: Buffer): void {
    this.#length += part.length;
    if (this.#length > LINE_BYTES) throw new Error(`a line of more than ${LINE_BYTES} bytes`);
    if (part.length > 0) this.#parts.push(part);
  }
}
