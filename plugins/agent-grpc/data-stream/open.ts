import type { Duplex } from "node:stream";
import { type Call, TapvisorError, withDeadline } from "tapvisor/plugin";
import { type DataStreamRequest, encodePreamble, MAX_LINE_BYTES, parseAnswer, splitLine, wasReset } from "tapvisor/protocol";
import { wrong } from "../answers.ts";
import { guestText } from "../guest-text.ts";
import { DATA_WINDOW_BYTES, DEADLINES } from "../limits.ts";
import type { Link } from "../link.ts";
import { nextChunk } from "./next-chunk.ts";

/** A data stream that the agent serves. */
export interface OpenedStream {
  readonly stream: Duplex;
  /** What it carries, as it stands in an error: `stdout of container "web"`. */
  readonly subject: string;
  /** What came together with the agent's answer: it stands before all that the stream still has. */
  readonly first: Buffer;
  /** Why it broke: the link is over, or else the agent has reset the stream. */
  broken(): TapvisorError;
}

/** @throws HOST_LIMIT when too many streams are open, AGENT_FAILED when the agent refuses, GUEST_PROTOCOL, TIMEOUT, AGENT_LOST, ABORTED. */
export async function openDataStream(link: Link, request: DataStreamRequest, { signal }: Call): Promise<OpenedStream> {
  const over = link.over();
  if (over) throw over;
  const subject = subjectOf(request);
  const stream = await link.openStream(request.stream === "stdin" ? {} : { windowBytes: DATA_WINDOW_BYTES });
  stream.on("error", () => {}); // whoever reads or writes gets `broken`
  const forget = link.onOver(() => stream.destroy());
  stream.once("close", forget);
  const opening = { stream, subject, broken: () => link.over() ?? whyBroken(link, stream, subject) };
  try {
    stream.write(encodePreamble(request));
    const wait = { what: `the agent to open ${subject}`, timeoutMs: DEADLINES.OpenStream, signal };
    const first = await withDeadline(wait, (inner) => readAnswer(opening, inner));
    return { ...opening, first };
  } catch (error) {
    stream.destroy();
    throw error;
  }
}

/**
 * Reads the answer and gives what came behind it. That cannot go back into the stream: when the end came with it, too, as of a process that has ended
 * before, the stream has ended by now and takes nothing any more.
 */
async function readAnswer({ stream, subject, broken }: Omit<OpenedStream, "first">, signal: AbortSignal): Promise<Buffer> {
  let seen: Buffer = Buffer.alloc(0);
  for (;;) {
    const chunk = await nextChunk(stream, signal, broken);
    if (!chunk) throw wrong(`answer about ${subject}`, "the end of the stream", "one line");
    seen = Buffer.concat([seen, chunk]);
    const line = splitLine(seen.subarray(0, MAX_LINE_BYTES));
    if (!line && seen.length >= MAX_LINE_BYTES)
      throw wrong(`answer about ${subject}`, `${seen.length} bytes`, `a line of at most ${MAX_LINE_BYTES}`);
    if (!line) continue;
    const answer = parseAnswer(line.text);
    if (!answer) throw wrong(`answer about ${subject}`, guestText(line.text, 256), "ok or a status");
    if ("status" in answer) throw refused(subject, answer.status, answer.text);
    return seen.subarray(seen.indexOf("\n") + 1);
  }
}

function subjectOf({ container, exec, stream }: DataStreamRequest): string {
  return exec === container ? `${stream} of container "${container}"` : `${stream} of process "${exec}" of container "${container}"`;
}

function refused(subject: string, status: string, text: string): TapvisorError {
  return new TapvisorError("AGENT_FAILED", `Cannot open ${subject}: the agent answered ${status} (${guestText(text)})`, {
    data: { method: "OpenStream", status },
  });
}

/** Any error but a reset is the end of the connection, which the stream hears of a moment before the link. */
function whyBroken(link: Link, { errored }: Duplex, subject: string): TapvisorError {
  if (errored && !wasReset(errored)) link.lose();
  return link.over() ?? reset(subject);
}

function reset(subject: string): TapvisorError {
  return new TapvisorError("AGENT_FAILED", `Cannot go on with ${subject}: the agent has reset the stream`, {
    data: { method: "OpenStream", status: "ABORTED" },
  });
}
