import { throwIfAborted, withDeadline } from "../base/deadline.ts";
import { isTapvisorError, messageOf, type Rollback, TapvisorError, toError } from "../base/errors.ts";
import type { Holding, HoldingKind, Json } from "../contracts/holding.ts";
import type { Defer } from "./hook-events.ts";
import type { HookRunner } from "./hook-runner.ts";
import type { LateWork } from "./late-work.ts";
import { type ReleaseScope, releaseHoldings, releaseUnsaved } from "./release.ts";

export interface TransactionScope extends ReleaseScope {
  readonly hooks: HookRunner;
  readonly late: LateWork;
}

export interface Operation<Step extends string> {
  /** "create sandbox" say; it stands in hooks and logs. */
  readonly name: string;
  readonly steps: readonly Step[];
  readonly sandbox: string;
  readonly container?: string;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Runs a straight line of named steps; when one fails, everything acquired since the start is released in reverse and the first error is
 * thrown with what was undone and what is left.
 */
export async function transact<Step extends string, T>(
  scope: TransactionScope,
  operation: Operation<Step>,
  story: (tx: Transaction<Step>) => Promise<T>,
): Promise<T> {
  scope.late.check(operation.sandbox, operation.container, operation.name);
  const tx = new Transaction<Step>(scope, operation);
  try {
    return await story(tx);
  } catch (error) {
    throw await tx.rollback(error);
  }
}

/** How long an acquisition that passed its deadline gets to end before its release runs. */
const SETTLE_MS = 2_000;

export class Transaction<in Step extends string> {
  readonly signal: AbortSignal | undefined;
  readonly #scope: TransactionScope;
  readonly #operation: Operation<string>;
  readonly #first: number;

  constructor(scope: TransactionScope, operation: Operation<string>) {
    this.#scope = scope;
    this.#operation = operation;
    this.#first = scope.journal.record.nextHolding;
    this.signal = operation.signal;
  }

  /**
   * Says ahead what a later step will acquire, so that the intent goes to the disk with the writes before that step, which then needs none of its own.
   * What is recorded is this intent: it has to be enough for the release.
   */
  expect(step: Step, from: { readonly owner: string; readonly kind: string }, intent: unknown): void {
    this.#scope.journal.expect({ step, ...from, ...this.#container(), intent: intent as Json });
  }

  /** Acquires a holding: its intent is on disk before anything happens, its grant with the next write. */
  async acquire<I, G>(step: Step, from: { readonly owner: string; readonly kind: string }, intent: I, timeoutMs: number): Promise<G> {
    const { journal, holders, log } = this.#scope;
    const holder = (await holders.get(from.owner, from.kind)) as unknown as HoldingKind<I, G>;
    let acquiring: Promise<G> | undefined;
    let abandoned = false;
    try {
      return await this.run(step, timeoutMs, (signal) => {
        const begin = async () => {
          const { holding, stored } = this.#intended(step, from, intent as Json);
          if (!stored && !holder.inProcess) await journal.save();
          throwIfAborted(signal, step); // the operation may have failed while its intent was written
          const grant = await holder.acquire(intent, { signal, log });
          if (abandoned) await this.#releaseLate(holding, holder, intent, grant);
          else journal.update(holding, { status: "held", grant: grant as Json });
          return grant;
        };
        acquiring = begin();
        return acquiring;
      });
    } catch (error) {
      // Past its deadline the work may still run; releasing beside it would race, so it gets a moment to end.
      if (acquiring && !(await settlesWithin(acquiring, SETTLE_MS))) {
        this.#scope.late.add(this.#operation.sandbox, this.#operation.container, acquiring);
      }
      abandoned = true;
      throw error;
    }
  }

  /** A step that holds nothing of its own; what it acquires in this process it gives to `defer`. */
  async run<T>(step: Step, timeoutMs: number, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const { name, sandbox } = this.#operation;
    const event = { step, operation: name, sandbox, ...this.#container() };
    throwIfAborted(this.signal, `${name} at ${step}`);
    this.#scope.log.debug({ step, operation: name }, "step");
    await this.#scope.probe?.({ phase: "before", ...event });
    const result = await withDeadline({ what: `${step} of ${name}`, timeoutMs, signal: this.signal }, work);
    await this.#scope.probe?.({ phase: "after", ...event });
    return result;
  }

  /**
   * The step by which an operation that cannot be undone any more has happened: nothing of it can fail after `work`, which has to undo itself when it
   * fails, and the caller's signal does not end it half-way.
   */
  async finish(step: Step, work: () => Promise<void>): Promise<void> {
    const { name, sandbox } = this.#operation;
    throwIfAborted(this.signal, `${name} at ${step}`);
    this.#scope.log.debug({ step, operation: name }, "step");
    await this.#scope.probe?.({ phase: "before", step, operation: name, sandbox, ...this.#container() });
    throwIfAborted(this.signal, `${name} at ${step}`);
    await work();
  }

  /** Registers a release of this process, in its place among the holdings. */
  defer(step: Step, owner: string, release: () => Promise<void>): void {
    this.#scope.journal.intendVolatile(step, owner, release, this.#operation.container);
  }

  /** The `defer` of a hook's event: what a tap registers is released with that step. */
  hookDefer(step: Step): Defer {
    return (name, release) => this.defer(step, `hook:${name}`, release);
  }

  /** Releases what this transaction acquired in the given steps, where it needs it no more. @throws RELEASE_INCOMPLETE. */
  async undo(...steps: readonly Step[]): Promise<void> {
    const mine = (holding: Holding) => holding.id >= this.#first && (steps as readonly string[]).includes(holding.step);
    const { left } = await releaseHoldings(this.#scope, mine);
    if (!left[0]) return;
    const { name, sandbox } = this.#operation;
    const why = `Cannot go on with ${name} of "${sandbox}": ${left[0].step} could not be released: ${left[0].reason}`;
    throw new TapvisorError("RELEASE_INCOMPLETE", why, { data: { id: sandbox, left } });
  }

  /** What the given step has made is the caller's from here on: it stays when the sandbox goes. */
  async handOut(step: Step): Promise<void> {
    const { journal } = this.#scope;
    const before = journal.record.holdings;
    journal.record.holdings = before.filter((holding) => holding.id < this.#first || holding.step !== step);
    await journal.save().catch((error) => {
      journal.record.holdings = before; // as stored: it is still to be released
      throw error;
    });
  }

  #intended(step: Step, from: { readonly owner: string; readonly kind: string }, intent: Json) {
    const { journal } = this.#scope;
    const { container } = this.#operation;
    return journal.meet(step, container) ?? { holding: journal.intend({ step, ...from, ...this.#container(), intent }), stored: false };
  }

  /** Releases everything acquired since the start, tells `onRollback`, and gives the error to throw. */
  async rollback(thrown: unknown): Promise<TapvisorError> {
    const { name, sandbox } = this.#operation;
    const error = asTapvisorError(thrown);
    this.#scope.log.warn({ operation: name, code: error.code, reason: error.message }, "rolling back");
    const mine = (holding: Holding) => holding.id >= this.#first && holding.container === this.#operation.container;
    this.#scope.journal.dropExpected(mine);
    const rollback: Rollback = await releaseUnsaved(this.#scope, mine, (holding, failure) =>
      this.#scope.hooks.observe("onRollback", {
        operation: name,
        sandbox,
        ...this.#container(),
        step: holding.step,
        cause: error,
        outcome: failure ? "failed" : "released",
        ...(failure ? { failure } : {}),
      }),
    );
    // What an operation inside this one has undone and left is told, too.
    const { undone = [], left = [] } = error.rollback ?? {};
    error.rollback = { undone: [...undone, ...rollback.undone], left: [...left, ...rollback.left] };
    // The first error stays the error: an old record names what has been released, and releasing that again is harmless.
    await this.#scope.journal
      .save()
      .catch((failure) => this.#scope.log.error({ reason: messageOf(failure) }, "could not save the rollback"));
    return error;
  }

  /** What was granted after its release had run is given back when it arrives; when that fails it is recorded, so that nothing late can leak. */
  async #releaseLate<I, G>(holding: Holding, holder: HoldingKind<I, G>, intent: I, grant: G): Promise<void> {
    const { log, journal } = this.#scope;
    const { step } = holding;
    log.warn({ step }, "granted after the operation had failed: released");
    try {
      await withDeadline({ what: `the late release of ${step}`, timeoutMs: this.#scope.releaseTimeoutMs }, (signal) =>
        holder.release({ intent, grant }, { signal, log }),
      );
    } catch (error) {
      log.error({ step, reason: messageOf(error) }, "could not be released");
      journal.update(journal.intend(holding), { status: "failed", grant: grant as Json, reason: messageOf(error) });
      await journal.saveOrStore().catch((failure) => log.error({ step, reason: messageOf(failure) }, "could not be recorded"));
    }
  }

  #container(): { readonly container?: string } {
    return this.#operation.container === undefined ? {} : { container: this.#operation.container };
  }
}

function asTapvisorError(thrown: unknown): TapvisorError {
  if (isTapvisorError(thrown)) return thrown as TapvisorError;
  return new TapvisorError("INTERNAL", messageOf(thrown), { data: {}, cause: toError(thrown) });
}

async function settlesWithin(work: Promise<unknown>, timeoutMs: number): Promise<boolean> {
  const settled = work.then(
    () => true,
    () => true,
  );
  return withDeadline({ what: "the work to end", timeoutMs }, () => settled).catch(() => false);
}
