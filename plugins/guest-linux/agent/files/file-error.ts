import { errnoOf, messageOf } from "tapvisor/plugin";
import { StatusError, type StatusName } from "../status.ts";

/** A refusal that has a word of the system for its reason. */
export class FileError extends StatusError {
  constructor(errno: string, message: string, options?: ErrorOptions) {
    super(statusFor(errno), message, undefined, { ...options, errno });
  }
}

/** What the system's refusal is on the wire; anything else stays what it is. */
export function asFileError(error: unknown, path: string): unknown {
  const errno = errnoOf(error);
  if (error instanceof StatusError || !/^E[A-Z0-9]+$/.test(errno)) return error;
  // The text of Node's own error holds the path by which the agent got there.
  return new FileError(errno, `Cannot use ${JSON.stringify(path)}: ${messageOf(error).split(",", 1)[0]}`, { cause: error });
}

function statusFor(errno: string): StatusName {
  if (errno === "ENOENT") return "NOT_FOUND";
  if (errno === "EEXIST") return "ALREADY_EXISTS";
  return "FAILED_PRECONDITION";
}
