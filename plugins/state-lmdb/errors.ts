import { errnoOf, isTapvisorError, messageOf, TapvisorError } from "tapvisor/plugin";

/** The error for a record, or a whole file, that cannot be used. */
export function corrupt(
  file: string,
  id: string | undefined,
  reason: string,
  more: { readonly hint?: string; readonly cause?: unknown } = {},
): TapvisorError {
  const what = id === undefined ? `the state database "${file}"` : `the record of sandbox "${id}" in the state database "${file}"`;
  return new TapvisorError("STATE_CORRUPT", `Cannot read ${what}: ${reason}`, {
    data: { file, ...(id === undefined ? {} : { id }) },
    hint: more.hint ?? "restore the file from a backup, or remove what is damaged when nothing of it runs any more",
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

/** LMDB's own words for a file whose content is wrong. */
const DAMAGE = /MDB_(CORRUPTED|PAGE_NOTFOUND|INVALID|VERSION_MISMATCH|PANIC|CURSOR_FULL|PAGE_FULL|INCOMPATIBLE|BAD_\w+)/;

/** What the database's or the disk's refusal means to the caller. */
export function explain(operation: string, file: string, id: string | undefined, cause: unknown): TapvisorError {
  if (isTapvisorError(cause)) return cause as TapvisorError;
  const text = messageOf(cause);
  if (DAMAGE.test(text)) return corrupt(file, id, text, { cause });
  return new TapvisorError("STATE_IO", `Cannot ${operation} "${file}": ${text}`, {
    data: { file, operation, errno: errnoOf(cause) },
    hint: "look at the free space, the permissions and the health of that disk; the record is the old or the new one",
    cause,
  });
}
