import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";

/** What a file holds, told by its length and its SHA-256. */
export interface FileSum {
  readonly bytes: number;
  readonly sha256: string;
}

/** Reads a whole file, a piece at a time. The error is the system's own. */
export async function sumOf(file: string): Promise<FileSum> {
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 })) {
    hash.update(chunk as Buffer);
    bytes += (chunk as Buffer).length;
  }
  return { bytes, sha256: hash.digest("hex") };
}
