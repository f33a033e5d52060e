import { isTapvisorError } from "../base/errors.ts";
import type { Held, HoldingKind, Json } from "../contracts/holding.ts";
import type { SandboxContext } from "../engine/context.ts";
import { fitVm } from "./fit-vm.ts";
import type { ResourcesIntent } from "./ledger.ts";

/**
 * A container's share of the VM's vCPUs and memory. To acquire it is to have the VM grow to what all requests add up to, this one included; to give
 * it back is to have the VM fit what the others add up to. So nothing is ever taken from another container.
 */
export function resourcesHolding(self: () => SandboxContext): HoldingKind<ResourcesIntent, void> {
  return {
    acquire: (_intent, call) => fitVm(self(), call, { shrink: false }),
    async release({ intent }: Held<ResourcesIntent, void>, call) {
      const sb = self();
      if (sb.guest.isEnding) return; // it all goes with the VM
      try {
        await fitVm(sb, call, { shrink: true, without: intent as unknown as Json });
      } catch (error) {
        if (!isTapvisorError(error) || error.code !== "VM_FAILED") throw error; // a dead VM has nothing
      }
    },
  };
}
