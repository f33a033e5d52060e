import { TapvisorError } from "../base/errors.ts";

/**
 * The moves of a sandbox's and of a container's state. `creating` and `failed` frame the ancestor's table: a record exists from the first
 * step on, and one whose release did not succeed stays as `failed` until `delete` or `gc` does.
 */
export const TRANSITIONS = {
  creating: ["ready", "failed"],
  ready: ["running", "stopped", "failed"],
  running: ["paused", "stopped", "failed"],
  paused: ["running", "stopped", "failed"],
  stopped: ["running", "failed"],
  failed: [],
} as const satisfies Record<string, readonly string[]>;

export type State = keyof typeof TRANSITIONS;

export const STATES = Object.keys(TRANSITIONS) as readonly State[];

/** Whether a state may follow another. */
export function canMove(from: State, to: State): boolean {
  return (TRANSITIONS[from] as readonly State[]).includes(to);
}

export interface Subject {
  readonly kind: "sandbox" | "container";
  readonly id: string;
  readonly state: State;
}

/** @throws INVALID_STATE naming the state and those in which the verb is possible. */
export function requireState(subject: Subject, verb: string, allowed: readonly State[]): void {
  if (allowed.includes(subject.state)) return;
  const kind = subject.kind === "sandbox" ? "Sandbox" : "Container";
  throw new TapvisorError(
    "INVALID_STATE",
    `${kind} not ${allowed.join(" or ")}, impossible to ${verb}: ${subject.id} is ${subject.state}`,
    {
      data: { kind: subject.kind, id: subject.id, state: subject.state, verb, allowed },
    },
  );
}
