import { isTapvisorError, messageOf, TapvisorError } from "../base/errors.ts";
import type { SandboxContext } from "../engine/context.ts";
import { canMove, requireState, type State } from "../engine/states.ts";

/** Moves the sandbox to a state and stores it. @throws INTERNAL for a move that the table does not have. */
export async function moveSandbox(sb: SandboxContext, to: State): Promise<void> {
  const from = sb.journal.record.state;
  if (from === to) return sb.journal.save();
  if (!canMove(from, to)) throw new TapvisorError("INTERNAL", `Cannot move sandbox "${sb.id}" from ${from} to ${to}`, { data: {} });
  sb.journal.record.state = to;
  await sb.journal.save().catch((error) => {
    sb.journal.record.state = from; // as stored, so that the verb can be tried again
    throw error;
  });
  sb.log.debug({ from, to }, "state");
  await sb.hooks.observe("stateChange", { sandbox: sb.id, from, to });
}

/**
 * The state after an operation that failed: the one it was in before, or `failed` when something could not be released. Logs when that cannot
 * be stored, so that the operation's error stays the error.
 */
export async function restoreSandbox(sb: SandboxContext, before: State, thrown: unknown): Promise<void> {
  const incomplete = isTapvisorError(thrown) && (thrown.rollback?.left.length ?? 0) > 0;
  const from = sb.journal.record.state;
  const to = incomplete ? "failed" : before;
  if (from === to) return;
  sb.journal.record.state = to;
  await sb.journal.save().catch((failure) => sb.log.error({ to, reason: messageOf(failure) }, "could not store the state"));
  await sb.hooks.observe("stateChange", { sandbox: sb.id, from, to });
}

/** @throws INVALID_STATE. */
export function requireSandbox(sb: SandboxContext, verb: string, ...allowed: readonly State[]): void {
  requireState({ kind: "sandbox", id: sb.id, state: sb.journal.record.state }, verb, allowed);
}
