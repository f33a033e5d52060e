import { isAgentStatus, isTapvisorError } from "../base/errors.ts";
import type { HoldingKind } from "../contracts/holding.ts";
import type { VmGrant } from "../contracts/hypervisor.ts";
import type { GuestLink } from "../sandbox/guest-link.ts";

/** The processes of these containers, while their VM is saved. */
export interface StandStillIntent {
  readonly vm: VmGrant;
  readonly containers: readonly string[];
}

/**
 * Containers whose processes do not run: what goes on from their VM is given its identity before they run there. To release it is to let the VM go on, too,
 * which whoever saves it has stopped.
 */
export function standStill(guest: GuestLink): HoldingKind<StandStillIntent, void> {
  return {
    async acquire({ containers }, call) {
      for (const container of containers) await guest.client.pauseContainer(container, call).catch(unlessEnded);
    },
    async release({ intent: { vm, containers } }, call) {
      try {
        const live = await guest.connectVm(vm, call);
        if ((await live.status(call)) === "paused") await live.resume(call);
      } catch (error) {
        if (isTapvisorError(error) && error.code === "VM_FAILED") return; // nothing of it runs
        throw error;
      }
      const agent = await guest.reach(vm, call);
      for (const container of containers) await agent?.resumeContainer(container, call).catch(unlessEnded);
    },
  };
}

/** A container whose process has ended neither stands still nor goes on. */
export function unlessEnded(error: unknown): void {
  if (!isAgentStatus(error, "NOT_FOUND") && !isAgentStatus(error, "FAILED_PRECONDITION")) throw error;
}
