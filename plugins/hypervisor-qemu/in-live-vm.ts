import { isTapvisorError, type VmGrant } from "tapvisor/plugin";
import type { Machine } from "./machine.ts";
import { leaseMachine } from "./machines.ts";

/** Takes something out of a VM. One that has ended, before or meanwhile, is success: what was in it went with it. */
export async function inLiveVm(vm: VmGrant, takeOut: (machine: Machine) => Promise<void>): Promise<void> {
  await using lease = await leaseMachine(vm).catch((error: unknown) => {
    if (isTapvisorError(error) && error.code === "VM_FAILED") return undefined;
    throw error;
  });
  if (!lease) return;
  try {
    await takeOut(lease.machine);
  } catch (error) {
    if (!(await lease.machine.endedAfter(error))) throw error;
  }
}
