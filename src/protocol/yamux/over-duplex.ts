import type { Duplex } from "node:stream";
import { type SessionOptions, YamuxSession } from "./session.ts";

/** Up to here frames are copied into one write, which costs less than a vector of small ones. */
const JOIN_BYTES = 16_384;

export type OverDuplexOptions = Omit<SessionOptions, "output">;

/**
 * Runs a session over a socket or any other Duplex, which is destroyed when the session ends. The session ends with the Duplex.
 */
export function yamuxOver(duplex: Duplex, options: OverDuplexOptions): YamuxSession {
  const output = { write: (frames: readonly Buffer[]) => write(duplex, frames), close: () => void duplex.destroy() };
  const session = new YamuxSession({ ...options, output });
  let failure: Error | undefined;
  duplex.on("error", (error: Error) => {
    failure = error;
  });
  duplex.on("end", () => session.end());
  duplex.on("close", () => session.end(failure));
  duplex.on("data", (chunk: Buffer) => session.receive(chunk));
  duplex.resume();
  if (duplex.destroyed || duplex.readableEnded) session.end(); // its events have been and gone
  return session;
}

function write(duplex: Duplex, frames: readonly Buffer[]): Promise<void> {
  const bytes = frames.reduce((sum, frame) => sum + frame.length, 0);
  const parts = bytes <= JOIN_BYTES && frames.length > 1 ? [Buffer.concat(frames, bytes)] : frames;
  return new Promise((resolve, reject) => {
    const last = parts.length - 1;
    duplex.cork();
    for (const [index, part] of parts.entries()) {
      if (index < last) duplex.write(part);
      else duplex.write(part, (error) => (error ? reject(error) : resolve()));
    }
    duplex.uncork();
  });
}
