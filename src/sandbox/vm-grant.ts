import { TapvisorError } from "../base/errors.ts";
import type { VmGrant } from "../contracts/hypervisor.ts";
import type { SandboxContext } from "../engine/context.ts";

/** The running VM's grant. @throws VM_FAILED when the sandbox holds none. */
export function vmGrantOf(sb: Pick<SandboxContext, "id" | "journal">): VmGrant {
  const holding = sb.journal.record.holdings.find(({ kind, grant }) => kind === "vm" && grant !== undefined);
  if (holding) return holding.grant as unknown as VmGrant;
  throw new TapvisorError("VM_FAILED", `Cannot use sandbox "${sb.id}": it has no VM`, { data: { id: sb.id } });
}
