import { status } from "@grpc/grpc-js";
import type { Failure } from "./errors.ts";

type Told = Pick<Failure, "code" | "text">;

/** A stream ends with the error text of Go's reader; in a Kata agent also with that of a pipe that WaitProcess has closed. */
export function isEndOfStream({ code, text }: Told): boolean {
  return code === status.UNKNOWN && (text === "EOF" || text.endsWith(": file already closed"));
}

/** The process took no more input and never will: a Kata agent passes on what the write said. */
export function isStdinClosed({ code, text }: Told): boolean {
  return code === status.UNKNOWN && /(: broken pipe|: file already closed)$/.test(text);
}

/** The process, or its container, had ended before the signal came. */
export function isProcessGone({ code, text }: Told): boolean {
  if (code === status.NOT_FOUND) return true;
  if (code === status.FAILED_PRECONDITION) return text.includes("code = NotFound");
  return code === status.UNKNOWN && /(process already finished|no such process)$/.test(text);
}

export function isNotFound({ code }: Told): boolean {
  return code === status.NOT_FOUND;
}
