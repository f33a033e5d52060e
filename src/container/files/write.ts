import { isTapvisorError, TapvisorError } from "../../base/errors.ts";
import { KiB } from "../../base/units.ts";
import type { FileAttributes, FilePlace, FileWrite } from "../../contracts/agent-files.ts";
import type { FileAccess } from "./access.ts";
import { type OwnerOptions, ownerOf } from "./check.ts";
import { chunksOf } from "./source.ts";

export interface WriteOptions extends OwnerOptions {
  /** Adds to the end of the file. */
  readonly append?: boolean;
  /** Writes into the file that is there, as a mounted file needs it, instead of putting a new one in its place: a reader may see half of it. */
  readonly inPlace?: boolean;
  readonly signal?: AbortSignal;
}

export type FileData = string | Uint8Array | AsyncIterable<string | Uint8Array> | Iterable<string | Uint8Array>;

export async function writeFile(access: FileAccess, path: string, data: FileData, options: WriteOptions): Promise<void> {
  const { append = false, inPlace = false, signal } = options;
  const mode = append ? "append" : inPlace ? "in-place" : "replace";
  await writePieces(access, access.place(path), checkData(data), { mode, attributes: ownerOf(options), signal });
}

/** One request carries at most this much: the guest takes 64 KiB a round trip, so that a larger one would only bring its deadline nearer. */
export const WRITE_BYTES = 256 * KiB;

export interface WriteHow {
  readonly mode: FileWrite["mode"];
  readonly attributes: FileAttributes;
  readonly signal: AbortSignal | undefined;
}

/** Sends data piece by piece. What was staged for a file that is not finished is given up. */
export async function writePieces(
  access: FileAccess,
  place: FilePlace,
  data: FileData,
  { mode, attributes, signal }: WriteHow,
): Promise<void> {
  const what = `the writing of ${JSON.stringify(place.path)}`;
  let staged = "";
  let offset = 0;
  const pieces = inPieces(data, what, signal);
  try {
    for await (const { piece, last } of pieces) {
      const write = { mode, offset, data: piece, last, attributes, ...(staged !== "" && { staged }) };
      try {
        staged = await access.ask({ what, signal }, (files, call) => files.write(place, write, call));
      } catch (error) {
        if (offset > 0 || mode !== "replace" || place.base !== undefined || !isUnsupported(error)) throw error;
        const { gather } = await import("./copy-before-start.ts");
        const rest = await gather(place.path, pieces);
        return await access.copy({ what, signal }, place, Buffer.concat([piece, rest]), attributes);
      }
      offset += piece.length;
    }
  } catch (error) {
    // Under a signal of its own: the caller's may be what has ended it.
    if (staged !== "") await access.ask({ what, signal: undefined }, (files, call) => files.discard(place, staged, call)).catch(() => {});
    throw error;
  }
}

function isUnsupported(error: unknown): boolean {
  return isTapvisorError(error) && error.code === "UNSUPPORTED";
}

/** The data in pieces of at most 256 KiB, and which is the last; of no data one empty piece. */
async function* inPieces(
  data: FileData,
  what: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<{ readonly piece: Uint8Array; readonly last: boolean }> {
  let waiting: Buffer[] = [];
  let length = 0;
  const chunks = typeof data === "string" || data instanceof Uint8Array ? [data] : data;
  for await (const chunk of chunksOf<string | Uint8Array>(chunks, what, signal)) {
    let rest = checkChunk(chunk);
    while (length + rest.length > WRITE_BYTES) {
      const taken = WRITE_BYTES - length;
      yield { piece: Buffer.concat([...waiting, rest.subarray(0, taken)]), last: false };
      rest = rest.subarray(taken);
      waiting = [];
      length = 0;
    }
    waiting.push(rest);
    length += rest.length;
  }
  yield { piece: Buffer.concat(waiting, length), last: true };
}

function checkData(data: unknown): FileData {
  const isIterable = typeof data === "object" && data !== null && (Symbol.asyncIterator in data || Symbol.iterator in data);
  if (typeof data === "string" || isIterable) return data as FileData;
  throw badData(data);
}

function checkChunk(chunk: unknown): Buffer {
  if (typeof chunk === "string") return Buffer.from(chunk);
  if (chunk instanceof Uint8Array) return Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
  throw badData(chunk);
}

function badData(value: unknown): TapvisorError<"INVALID_INPUT"> {
  const wanted = "text, bytes, or a stream of these";
  return new TapvisorError("INVALID_INPUT", `Cannot write data of type ${typeof value}: wanted ${wanted}`, {
    data: { path: "data", wanted },
  });
}
