import type { Duplex } from "node:stream";
import { MAX_LINE_BYTES, splitLine } from "tapvisor/protocol";
import { wrong } from "../answers.ts";
import { nextChunk } from "./next-chunk.ts";

/** Reads a stream line by line; what comes behind a line is the next one's. @throws GUEST_PROTOCOL at the stream's end or beyond the longest line; what `broken` says; ABORTED. */
export function lineReader(stream: Duplex, what: string, broken: () => Error): (signal: AbortSignal) => Promise<string> {
  let seen: Buffer = Buffer.alloc(0);
  return async (signal) => {
    for (;;) {
      const line = splitLine(seen.subarray(0, MAX_LINE_BYTES));
      if (line) {
        seen = seen.subarray(seen.indexOf("\n") + 1);
        return line.text;
      }
      if (seen.length >= MAX_LINE_BYTES) throw wrong(what, `${seen.length} bytes`, `a line of at most ${MAX_LINE_BYTES}`);
      const chunk = await nextChunk(stream, signal, broken);
      if (!chunk) throw wrong(what, "the end of the stream", "one line");
      seen = Buffer.concat([seen, chunk]);
    }
  };
}
