import { withDeadline } from "../base/deadline.ts";
import { messageOf, TapvisorError } from "../base/errors.ts";
import { DEADLINES } from "../config/defaults.ts";
import type { Call } from "../contracts/holding.ts";
import type { Vm } from "../contracts/hypervisor.ts";
import type { SandboxContext } from "../engine/context.ts";
import { resumeContainers } from "./adopt.ts";
import { exclusively } from "./exclusively.ts";
import { moveSandbox, requireSandbox } from "./state.ts";
import { vmGrantOf } from "./vm-grant.ts";

/** Freezes the whole VM. @throws INVALID_STATE when it does not run, UNSUPPORTED when the hypervisor cannot. */
export function pauseSandbox(sb: SandboxContext, signal: AbortSignal | undefined): Promise<void> {
  return exclusively(sb, signal, async () => {
    requireSandbox(sb, "pause the sandbox", "running");
    await orTakeBack(sb, "resume", async () => {
      await onVm(sb, "pause", signal, (vm, call) => vm.pause(call));
      await moveSandbox(sb, "paused");
    });
  });
}

/** Lets a paused VM go on. @throws INVALID_STATE when it is not paused. */
export function resumeSandbox(sb: SandboxContext, signal: AbortSignal | undefined): Promise<void> {
  return exclusively(sb, signal, async () => {
    requireSandbox(sb, "resume the sandbox", "paused");
    await orTakeBack(sb, "pause", async () => {
      await onVm(sb, "resume", signal, (vm, call) => vm.resume(call));
      await rejoinAgent(sb, signal);
      await moveSandbox(sb, "running");
    });
  });
}

/** Takes back what may have taken effect before it failed, under a deadline of its own: the VM is as its state says. */
async function orTakeBack(sb: SandboxContext, opposite: "pause" | "resume", work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    const log = (failure: unknown) => sb.log.error({ reason: messageOf(failure) }, `could not ${opposite} the VM again`);
    await onVm(sb, opposite, undefined, (vm, call) => vm[opposite](call)).catch(log);
    throw error;
  }
}

/** A paused sandbox may have been adopted: its agent could not answer until now. */
async function rejoinAgent(sb: SandboxContext, signal: AbortSignal | undefined): Promise<void> {
  if (sb.guest.isConnected) return;
  const wait = { what: `the agent of sandbox "${sb.id}"`, timeoutMs: DEADLINES.agent, signal };
  await withDeadline(wait, (inner) => sb.guest.connectAgent(vmGrantOf(sb), { signal: inner, log: sb.log }));
  await resumeContainers(sb);
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
