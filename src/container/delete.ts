import type { SandboxContext } from "../engine/context.ts";
import { releaseHoldings } from "../engine/release.ts";
import { exclusively } from "../sandbox/exclusively.ts";
import { requireSandbox } from "../sandbox/state.ts";
import { isOf, releaseIncomplete } from "../sandbox/stop.ts";
import { moveContainer, requireContainer } from "./state.ts";

/** Removes a container that does not run, in the guest and on the host. Deleted already is success. @throws INVALID_STATE, RELEASE_INCOMPLETE. */
export function deleteContainer(sb: SandboxContext, id: string, signal: AbortSignal | undefined): Promise<void> {
  return exclusively(sb, signal, () => deleteContainerLocked(sb, id));
}

export async function deleteContainerLocked(sb: SandboxContext, id: string): Promise<void> {
  const { record } = sb.journal;
  if (!Object.hasOwn(record.containers, id)) return sb.journal.saveIfStale();
  requireSandbox(sb, "delete the container", "ready", "running", "stopped", "failed"); // a frozen guest would not answer
  requireContainer(sb, id, "delete the container", "ready", "stopped", "failed");
  await sb.hooks.amend("beforeDelete", { sandbox: sb.id, container: id });
  await announceUnplug(sb, id);
  sb.processes.get(id)?.close();
  sb.processes.delete(id);
  const { left } = await releaseHoldings(sb, isOf(id));
  if (left.length > 0) {
    await moveContainer(sb, id, "failed");
    throw releaseIncomplete(id, left);
  }
  delete record.containers[id];
  await sb.journal.save();
  await sb.hooks.notify("afterDelete", { sandbox: sb.id, container: id });
}

/** A tap may veto the unplug: then nothing has been released yet. */
async function announceUnplug(sb: SandboxContext, id: string): Promise<void> {
  const plugged = sb.journal.record.holdings.some((holding) => holding.container === id && holding.kind === "share");
  if (!plugged) return;
  await sb.hooks.amend("beforeHotplug", { sandbox: sb.id, container: id, kind: "share", action: "unplug", request: { id, entries: [] } });
}
