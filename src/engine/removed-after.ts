import { isTapvisorError, messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { Holding } from "../contracts/holding.ts";

export interface Removal {
  remove(): Promise<void>;
  /** What is held for it now. */
  held(): readonly Holding[];
  readonly log: Logger;
}

/**
 * Removes what the first half of an operation made when its second half has failed. Gives the error to throw: that of the second half, which
 * names what is left of both.
 */
export async function removedAfter(thrown: unknown, { remove, held, log }: Removal): Promise<unknown> {
  const failure = await remove().then(
    () => undefined,
    (error: unknown) => error,
  );
  if (failure !== undefined) log.error({ reason: messageOf(failure) }, "could not be removed");
  if (isTapvisorError(thrown)) {
    const left = held().map(({ step, owner, kind, reason }) => ({ step, owner, kind, reason: reason ?? messageOf(failure) }));
    thrown.rollback = { undone: thrown.rollback?.undone ?? [], left };
  }
  return thrown;
}
