import { isTapvisorError, messageOf } from "../base/errors.ts";
import { DEADLINES } from "../config/defaults.ts";
import type { SandboxContext } from "../engine/context.ts";
import { exclusively } from "./exclusively.ts";
import { moveSandbox } from "./state.ts";
import { releaseSandbox } from "./stop.ts";
import { vmGrantOf } from "./vm-grant.ts";

/** Holds the record against what is: a sandbox whose VM has died gives back what it held, and it and its containers become `stopped`. */
export async function reconcile(sb: SandboxContext): Promise<void> {
  if (!isUp(sb) || !(await isVmDead(sb))) return;
  await exclusively(sb, undefined, async () => {
    if (isUp(sb) && (await isVmDead(sb))) await stopDead(sb);
  });
}

/** Gives back what a dead VM leaves. @throws RELEASE_INCOMPLETE; the state is `failed` then. */
export async function stopDead(sb: SandboxContext): Promise<void> {
  sb.log.warn("the VM has died; giving back what it held");
  await releaseSandbox(sb, true);
  for (const container of Object.values(sb.journal.record.containers)) if (container.state !== "failed") container.state = "stopped";
  await moveSandbox(sb, "stopped");
}

function isUp(sb: SandboxContext): boolean {
  return sb.journal.stored && ["ready", "running", "paused"].includes(sb.journal.record.state);
}

async function isVmDead(sb: SandboxContext): Promise<boolean> {
  const call = { signal: AbortSignal.timeout(DEADLINES.hotplug), log: sb.log };
  try {
    const vm = await sb.guest.connectVm(vmGrantOf(sb), call);
    return (await vm.status(call)) === "ended";
  } catch (error) {
    if (isTapvisorError(error) && error.code === "VM_FAILED") return true;
    sb.log.warn({ reason: messageOf(error) }, "cannot tell whether the VM lives");
    return false;
  }
}
