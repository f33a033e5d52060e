import { withDeadline } from "../base/deadline.ts";
import { type LeftHolding, messageOf, toError } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { Holding } from "../contracts/holding.ts";
import type { Holders } from "./holders.ts";
import type { Journal } from "./journal.ts";
import type { StepProbe } from "./probe.ts";

export interface ReleaseScope {
  readonly journal: Journal;
  readonly holders: Holders;
  readonly log: Logger;
  readonly probe: StepProbe | undefined;
  /** The deadline of each release, ms. */
  readonly releaseTimeoutMs: number;
}

export interface Released {
  readonly undone: readonly string[];
  readonly left: readonly LeftHolding[];
}

/** Told of each release: the holding, and why it failed if it did. */
export type OnReleased = (holding: Holding, failure: Error | undefined) => Promise<void>;

/**
 * The one way anything is given back, for rollback, stop, delete and gc alike: releases the wanted holdings, last acquired first, each
 * under a fresh deadline. All are attempted; one that fails stays in the journal as `failed` with its reason. A failure may be
 * cured by a later release (a device of a wedged VM goes with the VM), so those before the last success are tried once more.
 *
 * @throws STATE_IO when the journal cannot be written; everything has been attempted then.
 */
export async function releaseHoldings(scope: ReleaseScope, wanted: (holding: Holding) => boolean): Promise<Released> {
  const released = await releaseUnsaved(scope, wanted);
  await scope.journal.save();
  return released;
}

/** The same, leaving it to the caller to save the journal. Never rejects. */
export async function releaseUnsaved(
  scope: ReleaseScope,
  wanted: (holding: Holding) => boolean,
  onReleased?: OnReleased,
): Promise<Released> {
  const undone: string[] = [];
  const attempt = async (holding: Holding): Promise<boolean> => {
    const failed = await releaseOne(scope, holding);
    // The end of a process is noted when it comes, also while its release is under way: then there is nothing left to fail.
    const failure = scope.journal.has(holding) ? failed : undefined;
    if (failure) scope.journal.update(holding, { status: "failed", reason: messageOf(failure) });
    else {
      scope.journal.drop(holding);
      undone.push(holding.step);
    }
    await onReleased?.(holding, failure);
    return failure === undefined;
  };

  let curable: Holding[] = [];
  const failed: Holding[] = [];
  for (const holding of scope.journal.record.holdings.filter(wanted).reverse()) {
    if (await attempt(holding)) curable = [...failed];
    else failed.push(holding);
  }
  for (const holding of curable) await attempt(holding);

  const left = scope.journal.record.holdings
    .filter(wanted)
    .map(({ step, owner, kind, reason }) => ({ step, owner, kind, reason: reason ?? "" }));
  for (const each of left) scope.log.error(each, "could not be released");
  return { undone, left };
}

async function releaseOne(scope: ReleaseScope, holding: Holding): Promise<Error | undefined> {
  try {
    await withDeadline({ what: `the release of ${holding.step}`, timeoutMs: scope.releaseTimeoutMs }, async (signal) => {
      await scope.probe?.({ phase: "release", step: holding.step });
      const volatile = scope.journal.volatileOf(holding);
      if (volatile) return volatile();
      const holder = await scope.holders.get(holding.owner, holding.kind);
      return holder.release({ intent: holding.intent, grant: holding.grant }, { signal, log: scope.log });
    });
    return undefined;
  } catch (error) {
    return toError(error);
  }
}
