import type { Readable } from "node:stream";
import type { OpenSource } from "../../../../../plugins/guest-linux/agent/process/output-source.ts";

/** A stream of this process in place of a pipe. */
export function readableSource(readable: Readable): OpenSource {
  return (buffer, { filled, ended }) => {
    readable.on("data", (chunk: Buffer) => {
      let goOn = true;
      for (let rest = chunk; rest.length > 0; ) {
        const bytes = rest.copy(buffer.region);
        goOn = buffer.filled(bytes);
        rest = rest.subarray(bytes);
      }
      if (!goOn) readable.pause();
      filled();
    });
    for (const event of ["end", "close", "error"]) readable.on(event, ended);
    return { resume: () => void readable.resume(), destroy: () => void readable.destroy() };
  };
}
