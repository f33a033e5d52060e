import { messageOf } from "../base/errors.ts";
import type { SandboxContext } from "../engine/context.ts";
import { releaseHoldings } from "../engine/release.ts";
import { RESOURCES } from "../resource/ledger.ts";
import { exclusively } from "../sandbox/exclusively.ts";
import type { GuestProcess } from "./guest-process.ts";
import { announceGivingBack } from "./plug-resources.ts";
import { noteContainer } from "./state.ts";

/**
 * Waits for the container's process to end and records how; state `stopped`. Its vCPUs and memory are given back then. Its files stay plugged in until
 * it is deleted or started again, since its output may still be unread.
 */
export async function recordExit(sb: SandboxContext, id: string, process: GuestProcess): Promise<void> {
  try {
    const { exitCode, oomKilled } = await process.exited;
    const record = sb.journal.record.containers[id];
    if (!record || sb.processes.get(id) !== process) return;
    record.exitCode = exitCode;
    if (oomKilled) record.oomKilled = true;
    for (const holding of sb.journal.record.holdings.filter((each) => each.container === id && each.kind === "guest-process"))
      sb.journal.drop(holding);
    if (record.state === "running" || record.state === "paused") await noteContainer(sb, id, "stopped");
  } catch (error) {
    sb.log.debug({ container: id, reason: messageOf(error) }, "no longer following the container's process");
    return;
  }
  await giveBackResources(sb, id, process).catch((error) =>
    sb.log.warn({ container: id, reason: messageOf(error) }, "the vCPUs and memory of a container that has ended are still plugged in"),
  );
}

/** Unless the container has been started again, or a verb that waited for its end has given them back already. */
async function giveBackResources(sb: SandboxContext, id: string, process: GuestProcess): Promise<void> {
  const held = () => sb.journal.record.holdings.some((each) => each.container === id && each.kind === RESOURCES && each.status === "held");
  if (!held()) return;
  await exclusively(sb, undefined, async () => {
    const record = sb.journal.record.containers[id];
    if (!held() || record?.state !== "stopped" || sb.processes.get(id) !== process || sb.guest.isEnding) return;
    await announceGivingBack(sb, id);
    await releaseHoldings(sb, (each) => each.container === id && each.kind === RESOURCES);
  });
}
