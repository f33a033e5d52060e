import { messageOf, TapvisorError } from "../base/errors.ts";
import type { SandboxContext } from "../engine/context.ts";
import type { ContainerRecord } from "../engine/record.ts";
import { canMove, requireState, type State } from "../engine/states.ts";

/** The record of a container. @throws NOT_FOUND listing those there are. */
export function containerRecord(sb: SandboxContext, id: string): ContainerRecord {
  const { containers } = sb.journal.record;
  const record = Object.hasOwn(containers, id) ? containers[id] : undefined;
  if (record) return record;
  const known = Object.keys(containers);
  throw new TapvisorError("NOT_FOUND", `Cannot find container "${id}" in sandbox "${sb.id}": it has ${known.join(", ") || "none"}`, {
    data: { kind: "container", id, known },
  });
}

/** Moves a container to a state and stores it. */
export async function moveContainer(sb: SandboxContext, id: string, to: State): Promise<void> {
  const record = containerRecord(sb, id);
  const from = record.state;
  if (from === to) return;
  if (!canMove(from, to)) throw new TapvisorError("INTERNAL", `Cannot move container "${id}" from ${from} to ${to}`, { data: {} });
  record.state = to;
  await sb.journal.save().catch((error) => {
    record.state = from; // as stored, so that the verb can be tried again
    throw error;
  });
  await sb.hooks.observe("stateChange", { sandbox: sb.id, container: id, from, to });
}

/** Notes the state that a container is in by now, asked or not. Logs when that cannot be stored: the next write stores it. */
export async function noteContainer(sb: SandboxContext, id: string, to: State): Promise<void> {
  const record = containerRecord(sb, id);
  const from = record.state;
  if (from === to) return;
  record.state = to;
  await sb.journal.save().catch((error) => sb.log.error({ container: id, to, reason: messageOf(error) }, "could not store the state"));
  await sb.hooks.observe("stateChange", { sandbox: sb.id, container: id, from, to });
}

/** @throws INVALID_STATE, NOT_FOUND. */
export function requireContainer(sb: SandboxContext, id: string, verb: string, ...allowed: readonly State[]): void {
  requireState({ kind: "container", id, state: containerRecord(sb, id).state }, verb, allowed);
}
