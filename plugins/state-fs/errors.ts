import { errnoOf, messageOf, TapvisorError } from "tapvisor/plugin";

/** The error for a file that holds no usable record. */
export function corrupt(file: string, reason: string, more: { readonly hint?: string; readonly cause?: unknown } = {}): TapvisorError {
  return new TapvisorError("STATE_CORRUPT", `Cannot read the state file "${file}": ${reason}`, {
    data: { file },
    hint: more.hint ?? "restore the file from a backup, or remove it when nothing of that sandbox runs any more",
    cause: more.cause,
  });
}

export function alreadyExists(id: string): TapvisorError {
  return new TapvisorError("ALREADY_EXISTS", `Cannot create sandbox "${id}": there is one of this id, wanted a new id`, {
    data: { kind: "sandbox", id },
    hint: "choose another id, or delete that sandbox first",
  });
}

export function notFound(id: string): TapvisorError {
  return new TapvisorError("NOT_FOUND", `Cannot write the record of sandbox "${id}": there is none, wanted one made by create`, {
    data: { kind: "sandbox", id },
  });
}

export function refused(operation: string, file: string, cause: unknown): TapvisorError {
  return new TapvisorError("STATE_IO", `Cannot ${operation} "${file}": ${messageOf(cause)}`, {
    data: { file, operation, errno: errnoOf(cause) },
    hint: "look at the free space, the permissions and the health of that disk; the record is the old or the new one",
    cause,
  });
}
