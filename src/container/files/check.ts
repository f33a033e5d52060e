import { TapvisorError } from "../../base/errors.ts";

/** @throws INVALID_INPUT unless it is a whole number from 0 to `most`. */
export function checkWhole(field: string, value: unknown, most = Number.MAX_SAFE_INTEGER, shown = `${most}`): void {
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0 && value <= most) return;
  const wanted = most === Number.MAX_SAFE_INTEGER ? "a whole number, 0 or more" : `a whole number from 0 to ${shown}`;
  throw new TapvisorError("INVALID_INPUT", `Cannot use ${field} ${String(value)}: wanted ${wanted}`, {
    data: { path: field, value, wanted },
  });
}

export interface OwnerOptions {
  /** Permissions, 0o644 say, with the set-id and sticky bits. */
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
}

/** The largest id: one more means "leave it" to the system. */
const MOST_ID = 2 ** 32 - 2;

/** What of it is given. @throws INVALID_INPUT. */
export function ownerOf({ mode, uid, gid }: OwnerOptions): OwnerOptions {
  if (mode !== undefined) checkWhole("mode", mode, 0o7777, "0o7777");
  if (uid !== undefined) checkWhole("uid", uid, MOST_ID);
  if (gid !== undefined) checkWhole("gid", gid, MOST_ID);
  return { ...(mode !== undefined && { mode }), ...(uid !== undefined && { uid }), ...(gid !== undefined && { gid }) };
}
