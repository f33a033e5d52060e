import { TapvisorError } from "../base/errors.ts";
import { vcpusIn } from "../config/resources-config.ts";
import type { Call } from "../contracts/holding.ts";
import type { SandboxContext } from "../engine/context.ts";
import { vmGrantOf } from "../sandbox/vm-grant.ts";

/** Pins the vCPUs there are now, when the sandbox asks for it. @throws UNSUPPORTED when its hypervisor cannot; VM_FAILED when the host refuses. */
export async function pinVcpus(sb: SandboxContext, call: Call): Promise<void> {
  const { hostCpus } = sb.journal.record.config;
  if (hostCpus === undefined) return;
  const vm = await sb.guest.connectVm(vmGrantOf(sb), call);
  if (!vm.pinVcpus) {
    throw new TapvisorError("UNSUPPORTED", `Cannot pin the vCPUs of sandbox "${sb.id}": its hypervisor cannot`, {
      data: { what: "pinning vCPUs", by: sb.journal.record.providers.hypervisor },
    });
  }
  await vm.pinVcpus(vcpusIn(hostCpus), call);
}
