import { isTapvisorError, messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";

/**
 * Removes what was made by the first half of an operation whose second half has failed. Gives the error to throw: the one of the second half,
 * with what is left now.
 */
export async function removedAfter(thrown: unknown, remove: () => Promise<void>, log: Logger): Promise<unknown> {
  const rollback = isTapvisorError(thrown) ? thrown.rollback : undefined;
  const undone = rollback?.undone ?? [];
  try {
    await remove();
    if (isTapvisorError(thrown)) thrown.rollback = { undone, left: [] };
  } catch (failure) {
    log.error({ reason: messageOf(failure) }, "could not be removed");
    const left = isTapvisorError(failure) && failure.code === "RELEASE_INCOMPLETE" ? failure.data.left : (rollback?.left ?? []);
    if (isTapvisorError(thrown)) thrown.rollback = { undone, left };
  }
  return thrown;
}
