import type { Plan } from "../plan/plan.ts";

/** What `tapvisor plan` does with the engines that a script makes: they act in memory only, and tell each change before they pretend to make it. */
export interface PlanMode {
  /** The preset in place of the script's own: a whole world in memory that plans as the real one would. */
  readonly preset: string;
  /** In place of the engine's own root: a directory that is removed in the end. */
  readonly root: string;
  report(plan: Plan): void;
}

let mode: PlanMode | undefined;

/** From here on every engine of this process plans only. */
export function planOnly(chosen: PlanMode): void {
  mode = chosen;
}

export function planMode(): PlanMode | undefined {
  return mode;
}
