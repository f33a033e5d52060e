import type { SandboxContext } from "../engine/context.ts";
import { type PlannedChange, planChange } from "./plan.ts";

/** While a script is planned, tells what a change would do before it is made in memory. Otherwise nothing. */
export async function announce(sb: SandboxContext, change: PlannedChange): Promise<void> {
  const { onPlan } = sb.engine;
  if (onPlan) onPlan(await planChange(sb, change));
}
