import type { Readable } from "node:stream";
import { TapvisorError } from "tapvisor/plugin";

/** What has arrived, waiting for some; undefined at the end. @throws what `broken` says when the stream is destroyed before; ABORTED. */
export function nextChunk(stream: Readable, signal: AbortSignal, broken: () => Error): Promise<Buffer | undefined> {
  return new Promise((resolve, reject) => {
    const settle = (outcome: () => void) => {
      stream.off("readable", look).off("end", look).off("close", look);
      signal.removeEventListener("abort", abort);
      outcome();
    };
    const look = () => {
      const chunk = stream.read() as Buffer | null;
      if (chunk) settle(() => resolve(chunk));
      else if (stream.readableEnded) settle(() => resolve(undefined));
      else if (stream.destroyed) settle(() => reject(broken()));
    };
    const abort = () => settle(() => reject(aborted(signal)));
    if (signal.aborted) return abort();
    signal.addEventListener("abort", abort, { once: true });
    stream.on("readable", look).on("end", look).on("close", look);
    look();
  });
}

function aborted(signal: AbortSignal): TapvisorError {
  const what = "reading a stream of the guest";
  return new TapvisorError("ABORTED", `Cannot finish ${what}: the caller gave up`, { data: { what }, cause: signal.reason });
}
