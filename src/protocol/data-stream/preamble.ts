/**
 * How a yamux stream begins that carries a process's standard stream and no HTTP/2.
 *
 *   preamble   one line, host to guest: `tapvisor-stream/1 {"container":"web","exec":"web","stream":"stdout"}`
 *   answer     one line, guest to host: `{"ok":true}`, or `{"status":"NOT_FOUND","text":"…"}` and the end of the stream
 *
 * An HTTP/2 connection begins with `PRI * HTTP/2.0`, so the first byte tells the two apart.
 */

/** Which stream of which process a data stream carries. */
export interface DataStreamRequest {
  readonly container: string;
  /** The container's own process has the container's id here. */
  readonly exec: string;
  readonly stream: "stdin" | "stdout" | "stderr";
}

/** Whether the agent serves the stream; `status` is a gRPC status's name. */
export type DataStreamAnswer = { readonly ok: true } | { readonly status: string; readonly text: string };

export const MAGIC = Buffer.from("tapvisor-stream/1 ");
const NEWLINE = 0x0a;
/** The longest line either side takes, bytes, its end included. */
export const MAX_LINE_BYTES = 8192;
const LONGEST_ID = 1024;

export function encodePreamble({ container, exec, stream }: DataStreamRequest): Buffer {
  return Buffer.concat([MAGIC, line({ container, exec, stream })]);
}

export function encodeAnswer(answer: DataStreamAnswer): Buffer {
  return line(answer);
}

/** Whether these bytes, the first of a stream, may still be, or certainly are, the beginning of a preamble. */
export function beginsPreamble(bytes: Buffer): boolean {
  const length = Math.min(bytes.length, MAGIC.length);
  return MAGIC.compare(bytes, 0, length, 0, length) === 0;
}

/** A line without its end, and what came behind it; undefined while it is not complete. */
export function splitLine(bytes: Buffer): { readonly text: string; readonly rest: Buffer } | undefined {
  const end = bytes.indexOf(NEWLINE);
  return end < 0 ? undefined : { text: bytes.toString("utf8", 0, end), rest: bytes.subarray(end + 1) };
}

/** The request of a preamble's line; undefined when it is none. */
export function parsePreamble(text: string): DataStreamRequest | undefined {
  const { container, exec, stream } = object(text.slice(MAGIC.length));
  if (!isId(container) || !isId(exec) || !(stream === "stdin" || stream === "stdout" || stream === "stderr")) return undefined;
  return { container, exec, stream };
}

/** The answer in a line; undefined when it is none. */
export function parseAnswer(text: string): DataStreamAnswer | undefined {
  const { ok, status, text: why } = object(text);
  if (ok === true) return { ok };
  if (typeof status === "string" && /^[A-Z_]{1,32}$/.test(status) && typeof why === "string") return { status, text: why };
  return undefined;
}

export function line(value: object): Buffer {
  return Buffer.from(`${JSON.stringify(value)}\n`);
}

function isId(value: unknown): value is string {
  return typeof value === "string" && value.length <= LONGEST_ID;
}

/** The object in a line of JSON; an empty one when there is none. */
export function object(text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}
