import { withDeadline } from "../base/deadline.ts";
import { DEADLINES } from "../config/defaults.ts";
import type { SandboxContext } from "../engine/context.ts";
import { ledgerOf, type SandboxResources } from "../resource/ledger.ts";
import { exclusively } from "./exclusively.ts";
import { vmGrantOf } from "./vm-grant.ts";

/** The ledger, after asking the hypervisor and the guest what there is now; what is recorded when the VM does not run. */
export function readResources(sb: SandboxContext, signal: AbortSignal | undefined): Promise<SandboxResources> {
  return exclusively(sb, signal, async () => {
    if (sb.journal.record.state === "ready" || sb.journal.record.state === "running") {
      const wait = { what: `the size of the VM of sandbox "${sb.id}"`, timeoutMs: DEADLINES.agent, signal };
      await withDeadline(wait, (inner) => lookNow(sb, inner));
    }
    return ledgerOf(sb.journal.record);
  });
}

async function lookNow(sb: SandboxContext, signal: AbortSignal): Promise<void> {
  const call = { signal, log: sb.log };
  const vm = await sb.guest.connectVm(vmGrantOf(sb), call);
  if (!vm.sizing) return;
  const [{ vcpus, memoryBytes }, confirmed] = await Promise.all([vm.sizing.size(call), sb.guest.client.syncResources({}, call)]);
  sb.journal.record.granted = {
    vcpus: Math.min(vcpus, confirmed?.onlineVcpus ?? vcpus),
    pluggedVcpus: vcpus,
    memoryBytes,
    ...(confirmed && { confirmed }),
  };
}
