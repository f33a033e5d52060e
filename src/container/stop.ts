import { messageOf } from "../base/errors.ts";
import type { SandboxContext } from "../engine/context.ts";
import { releaseHoldings } from "../engine/release.ts";
import { RESOURCES } from "../resource/ledger.ts";
import { exclusively } from "../sandbox/exclusively.ts";
import { requireSandbox } from "../sandbox/state.ts";
import { releaseIncomplete, type StopOptions } from "../sandbox/stop.ts";
import { announceGivingBack } from "./plug-resources.ts";
import { containerRecord, moveContainer, noteContainer, requireContainer } from "./state.ts";
import { terminate } from "./terminate.ts";

/** What a container holds only while it may run: stopped, it has its files still, since its output may be unread. */
export const RUNS_ON: readonly string[] = ["guest-process", RESOURCES];

/**
 * Ends the container's process; state `stopped`. Stopped or deleted already is success. By force errors of the guest are ignored; when nobody
 * can tell whether the process has ended, the state is `failed`.
 */
export function stopContainer(sb: SandboxContext, id: string, options: StopOptions): Promise<void> {
  return exclusively(sb, options.signal, () => stopContainerLocked(sb, id, options));
}

export async function stopContainerLocked(sb: SandboxContext, id: string, options: StopOptions): Promise<void> {
  const force = options.force ?? false;
  const { containers } = sb.journal.record;
  if (!Object.hasOwn(containers, id) || containerRecord(sb, id).state === "stopped") return void (await sb.journal.saveIfStale());
  requireContainer(sb, id, "stop", "ready", "running", "paused");
  if (!force) requireSandbox(sb, "stop the container", "ready", "running");
  await sb.hooks.amend("beforeStop", { sandbox: sb.id, container: id, force });
  await announceGivingBack(sb, id);
  try {
    await terminate(sb, id, options);
  } catch (error) {
    if (!force) throw error;
    sb.log.warn({ container: id, reason: messageOf(error) }, "the guest did not answer; stopping by force");
  }
  const { left } = await releaseHoldings(sb, (holding) => holding.container === id && RUNS_ON.includes(holding.kind));
  if (left.length > 0) await noteContainer(sb, id, "failed");
  if (left.length > 0 && !force) throw releaseIncomplete(id, left);
  if (left.length === 0) await moveContainer(sb, id, "stopped");
  await sb.hooks.notify("afterStop", { sandbox: sb.id, container: id, force });
}
