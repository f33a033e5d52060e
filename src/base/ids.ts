import { randomBytes } from "node:crypto";
import { TapvisorError } from "./errors.ts";

/**
 * The form of a sandbox's or container's id: it becomes a directory, a QEMU object's name and a mount tag, so it starts with a letter
 * and has at most 31 letters, digits, `_`, `.` or `-` (QEMU cuts node names there, and aborts on `../`).
 */
export const ID_PATTERN = /^[A-Za-z][A-Za-z0-9_.-]{0,30}$/;

/** @throws INVALID_INPUT naming the field when `id` cannot be an id. */
export function checkId(path: string, id: unknown): string {
  if (typeof id === "string" && ID_PATTERN.test(id) && !id.endsWith(".")) return id;
  throw new TapvisorError(
    "INVALID_INPUT",
    `Cannot use ${path} ${JSON.stringify(id)}: wanted a letter followed by at most 30 letters, digits, "_", "." or "-"`,
    {
      data: { path, value: id, wanted: ID_PATTERN.source },
      hint: 'use a name such as "web-1"; slashes and ".." are never allowed since ids become file names',
    },
  );
}

/** A new id that nothing else has: a prefix and 40 random bits. */
export function newId(prefix: string): string {
  return `${prefix}-${randomBytes(5).toString("hex")}`;
}
