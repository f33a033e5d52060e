import { Readable } from "node:stream";
import { TapvisorError } from "../../base/errors.ts";
import { formatBytes, MiB } from "../../base/units.ts";
import { FILE_PIECE_BYTES } from "../../contracts/agent-files.ts";
import type { FileAccess } from "./access.ts";
import { checkWhole } from "./check.ts";

/** What `read` takes when nothing is said of the length, bytes. */
const LONGEST = 64 * MiB;

export interface ReadOptions {
  /** Where to begin, bytes; 0 by default. */
  readonly offset?: number;
  /** How much to read at most, bytes; by default all, which must be no more than 64 MiB. */
  readonly length?: number;
  readonly signal?: AbortSignal;
}

export async function readFile(access: FileAccess, path: string, options: ReadOptions): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  let length = 0;
  for await (const piece of piecesOf(access, path, { ...options, length: options.length ?? LONGEST + 1 })) {
    pieces.push(piece);
    length += piece.length;
  }
  if (options.length === undefined && length > LONGEST) {
    throw new TapvisorError("FILE_FAILED", `Cannot read all of ${JSON.stringify(path)}: it is longer than ${formatBytes(LONGEST)}`, {
      data: { path, errno: "EFBIG" },
      hint: "say how much with `length`, or read it piece by piece with readStream()",
    });
  }
  return Buffer.concat(pieces, length);
}

/** The next piece is asked for when the reader has taken the one before. */
export function readFileStream(access: FileAccess, path: string, options: ReadOptions): Readable {
  access.place(path); // a mistake is the caller's, not the reader's
  return Readable.from(piecesOf(access, path, options), { objectMode: false, highWaterMark: FILE_PIECE_BYTES });
}

/** A file's bytes, from the same file to the end: another that takes its place meanwhile is an error. */
export async function* piecesOf(
  access: FileAccess,
  path: string,
  { offset = 0, length = Number.POSITIVE_INFINITY, signal }: ReadOptions,
  base?: string,
): AsyncGenerator<Uint8Array, void, undefined> {
  checkWhole("offset", offset);
  if (length !== Number.POSITIVE_INFINITY) checkWhole("length", length);
  const place = access.place(path, base);
  let identity: string | undefined;
  for (let at = offset, left = length; left > 0; ) {
    const wanted = Math.min(left, FILE_PIECE_BYTES);
    const range = { offset: at, length: wanted, ...(identity !== undefined && { identity }) };
    const piece = await access.ask({ what: `the reading of ${JSON.stringify(path)}`, signal }, (files, call) =>
      files.read(place, range, call),
    );
    identity = piece.identity;
    at += piece.data.length;
    left -= piece.data.length;
    if (piece.data.length > 0) yield piece.data;
    if (piece.data.length < wanted) return;
  }
}
