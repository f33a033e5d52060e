import type { GuestOutput } from "tapvisor/plugin";
import { encodeAcknowledgement } from "tapvisor/protocol";
import { ACKNOWLEDGE_BYTES, ACKNOWLEDGE_MS, LAST_ACKNOWLEDGEMENT_MS } from "../limits.ts";
import { nextChunk } from "./next-chunk.ts";
import type { OpenedStream } from "./open.ts";

const NO_BYTES = new Uint8Array(0);

/** Reads a data stream and acknowledges what its reader takes. */
export function outputOver({ stream, first, broken }: OpenedStream): GuestOutput {
  let next: Buffer | undefined = first.length > 0 ? first : undefined;
  let unsaid = 0;
  let timer: NodeJS.Timeout | undefined;
  let closed = false;
  const say = () => {
    clearTimeout(timer);
    timer = undefined;
    if (unsaid > 0 && stream.writable) stream.write(encodeAcknowledgement(unsaid));
    unsaid = 0;
  };
  return {
    read: async (signal) => {
      if (!next || signal.aborted) return (await nextChunk(stream, signal, broken)) ?? NO_BYTES;
      const chunk = next;
      next = undefined;
      return chunk;
    },
    taken(bytes) {
      unsaid += bytes;
      if (unsaid >= ACKNOWLEDGE_BYTES) say();
      else if (unsaid > 0) timer ??= setTimeout(say, ACKNOWLEDGE_MS).unref();
    },
    close() {
      if (closed) return;
      closed = true;
      say();
      // Not reset: what the agent has not read of a stream when it is reset is lost, and the acknowledgement may be among it.
      const late = setTimeout(() => stream.destroy(), LAST_ACKNOWLEDGEMENT_MS).unref();
      stream.once("close", () => clearTimeout(late));
      stream.end();
      stream.resume();
    },
  };
}
