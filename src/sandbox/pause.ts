import { withDeadline } from "../base/deadline.ts";
import { TapvisorError } from "../base/errors.ts";
import { DEADLINES } from "../config/defaults.ts";
import type { Call } from "../contracts/holding.ts";
import type { Vm } from "../contracts/hypervisor.ts";
import type { SandboxContext } from "../engine/context.ts";
import { exclusively } from "./exclusively.ts";
import { moveSandbox, requireSandbox } from "./state.ts";

/** Freezes the whole VM. @throws INVALID_STATE when it does not run, UNSUPPORTED when the hypervisor cannot. */
export function pauseSandbox(sb: SandboxContext, signal: AbortSignal | undefined): Promise<void> {
  return exclusively(sb, signal, async () => {
    requireSandbox(sb, "pause the sandbox", "running");
    await onVm(sb, "pause", signal, (vm, call) => vm.pause(call));
    await moveSandbox(sb, "paused");
  });
}

/** Lets a paused VM go on. @throws INVALID_STATE when it is not paused. */
export function resumeSandbox(sb: SandboxContext, signal: AbortSignal | undefined): Promise<void> {
  return exclusively(sb, signal, async () => {
    requireSandbox(sb, "resume the sandbox", "paused");
    await onVm(sb, "resume", signal, (vm, call) => vm.resume(call));
    await moveSandbox(sb, "running");
  });
}

async function onVm(
  sb: SandboxContext,
  verb: string,
  signal: AbortSignal | undefined,
  work: (vm: Vm, call: Call) => Promise<void>,
): Promise<void> {
  const hypervisor = await sb.engine.slot("hypervisor");
  if (!hypervisor.capabilities.pause) {
    throw new TapvisorError("UNSUPPORTED", `Cannot ${verb} sandbox "${sb.id}": its hypervisor cannot`, {
      data: { what: verb, by: sb.journal.record.providers.hypervisor },
    });
  }
  const { vm } = sb.guest;
  if (!vm) throw new TapvisorError("VM_FAILED", `Cannot ${verb} sandbox "${sb.id}": its VM has ended`, { data: { id: sb.id } });
  await withDeadline({ what: `the VM of sandbox "${sb.id}" to ${verb}`, timeoutMs: DEADLINES.hotplug, signal }, (inner) =>
    work(vm, { signal: inner, log: sb.log }),
  );
}
