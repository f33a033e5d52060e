import { isTapvisorError, messageOf, type Resized } from "tapvisor/plugin";
import { isRefusal } from "./device-steps.ts";

/** Why a device is still there although it was asked to go: the guest keeps it, or nobody waits any longer. Undefined for other failures. */
export function whyKept(error: unknown): string | undefined {
  const given = isTapvisorError(error) && ["DEVICE_IN_USE", "TIMEOUT", "ABORTED"].includes(error.code);
  return given || isRefusal(error) ? messageOf(error) : undefined;
}

/** How far a resize came; `why` when it is not the target. */
export function resized(reached: number, target: number, why: string): Resized {
  return reached === target ? { reached } : { reached, shortfall: why };
}
