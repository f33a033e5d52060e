import type { Duplex } from "node:stream";
import { setImmediate as nextTurn } from "node:timers/promises";
import { type Call, type TapvisorError, withDeadline } from "tapvisor/plugin";
import { lineReader } from "../data-stream/read-line.ts";
import type { Link } from "../link.ts";

export interface LineStream {
  readonly stream: Duplex;
  readonly readLine: (signal: AbortSignal) => Promise<string>;
}

export interface Exchange {
  /** What is waited for, as it stands in a TIMEOUT. */
  readonly what: string;
  /** What an answer is, as it stands in GUEST_PROTOCOL. */
  readonly subject: string;
  readonly timeoutMs: number;
  /** The stream has been reset. */
  readonly reset: () => TapvisorError;
}

/** Opens a stream of the link for lines to and fro; it is destroyed when `work` fails. @throws HOST_LIMIT, AGENT_LOST, TIMEOUT, ABORTED, GUEST_PROTOCOL, what `work` throws. */
export async function exchangeLines<T>(
  link: Link,
  { what, subject, timeoutMs, reset }: Exchange,
  { signal }: Call,
  work: (lines: LineStream, signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const over = link.over();
  if (over) throw over;
  const stream = await link.openStream();
  stream.on("error", () => {}); // whoever reads is told
  stream.once(
    "close",
    link.onOver(() => stream.destroy()),
  );
  try {
    const readLine = lineReader(stream, subject, reset);
    return await withDeadline({ what, timeoutMs, signal }, (inner) => work({ stream, readLine }, inner));
  } catch (error) {
    if (stream.destroyed) await nextTurn(); // the stream hears of the connection's end a moment before the link
    stream.destroy();
    throw link.over() ?? error;
  }
}
