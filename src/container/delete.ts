import type { DiskIntent } from "../contracts/hypervisor.ts";
import { handOverDisks } from "../device/hand-over.ts";
import type { SandboxContext } from "../engine/context.ts";
import { releaseHoldings } from "../engine/release.ts";
import { takeBackKept } from "../resource/refit.ts";
import { exclusively } from "../sandbox/exclusively.ts";
import { requireSandbox } from "../sandbox/state.ts";
import { isOf, releaseIncomplete } from "../sandbox/stop.ts";
import { announceGivingBack } from "./plug-resources.ts";
import { moveContainer, requireContainer } from "./state.ts";

/** Removes a container that does not run, in the guest and on the host. Deleted already is success. @throws INVALID_STATE, RELEASE_INCOMPLETE. */
export function deleteContainer(sb: SandboxContext, id: string, signal: AbortSignal | undefined): Promise<void> {
  return exclusively(sb, signal, () => deleteContainerLocked(sb, id));
}

export async function deleteContainerLocked(sb: SandboxContext, id: string): Promise<void> {
  const { record } = sb.journal;
  if (!Object.hasOwn(record.containers, id)) return void (await sb.journal.saveIfStale());
  requireSandbox(sb, "delete the container", "ready", "running", "stopped", "failed"); // a frozen guest would not answer
  requireContainer(sb, id, "delete the container", "ready", "stopped", "failed");
  await sb.hooks.amend("beforeDelete", { sandbox: sb.id, container: id });
  await announceUnplug(sb, id);
  sb.processes.get(id)?.close();
  sb.processes.delete(id);
  handOverDisks(sb, id);
  const { left } = await releaseHoldings(sb, isOf(id));
  if (left.length > 0) {
    await moveContainer(sb, id, "failed");
    throw releaseIncomplete(id, left);
  }
  delete record.containers[id];
  await takeBackKept(sb); // its files were memory of the guest
  await sb.journal.save();
  await sb.hooks.notify("afterDelete", { sandbox: sb.id, container: id });
}

/** A tap may veto the unplug: then nothing has been released yet. */
async function announceUnplug(sb: SandboxContext, id: string): Promise<void> {
  const held = sb.journal.record.holdings.filter(isOf(id));
  const about = { sandbox: sb.id, container: id, action: "unplug" } as const;
  if (held.some(({ kind }) => kind === "share"))
    await sb.hooks.amend("beforeHotplug", { ...about, kind: "share", request: { id, entries: [] } });
  for (const { kind, intent } of held) {
    if (kind !== "disk") continue;
    const { path, readonly } = intent as unknown as DiskIntent;
    await sb.hooks.amend("beforeHotplug", { ...about, kind: "block", request: { path, readonly } });
  }
  await announceGivingBack(sb, id);
}
