import { TapvisorError } from "../base/errors.ts";
import type { VmGrant, VmIntent } from "../contracts/hypervisor.ts";
import type { SandboxContext } from "../engine/context.ts";
import type { SandboxRecord } from "../engine/record.ts";

/** The VM that a sandbox holds, and what it was started by; `undefined` when it has none. */
export function findVm({ holdings }: Pick<SandboxRecord, "holdings">): { readonly intent: VmIntent; readonly grant: VmGrant } | undefined {
  const holding = holdings.find(({ kind, grant }) => kind === "vm" && grant !== undefined);
  return holding as unknown as { readonly intent: VmIntent; readonly grant: VmGrant } | undefined;
}

/** The same. @throws VM_FAILED when the sandbox holds none. */
export function requireVm({ id, journal }: Pick<SandboxContext, "id" | "journal">): { readonly intent: VmIntent; readonly grant: VmGrant } {
  const vm = findVm(journal.record);
  if (vm) return vm;
  throw new TapvisorError("VM_FAILED", `Cannot use sandbox "${id}": it has no VM`, { data: { id } });
}

/** The running VM's grant. @throws VM_FAILED when the sandbox holds none. */
export function vmGrantOf(sb: Pick<SandboxContext, "id" | "journal">): VmGrant {
  return requireVm(sb).grant;
}
