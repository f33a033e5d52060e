import type { SandboxContext } from "../engine/context.ts";
import { exclusively } from "./exclusively.ts";
import { removeRecord } from "./remove-record.ts";
import { requireSandbox } from "./state.ts";
import { releaseSandbox } from "./stop.ts";

/** Removes a sandbox that does not run, with everything it still holds. Deleted already is success. @throws INVALID_STATE, RELEASE_INCOMPLETE. */
export function deleteSandbox(sb: SandboxContext, signal: AbortSignal | undefined): Promise<void> {
  return exclusively(sb, signal, async () => {
    if (!sb.journal.stored) return;
    requireSandbox(sb, "delete the sandbox", "ready", "paused", "stopped", "failed", "creating");
    await sb.hooks.amend("beforeDelete", { sandbox: sb.id });
    await releaseSandbox(sb, true);
    sb.journal.record.state = "stopped"; // it has no VM any more, should its record not go
    for (const container of Object.values(sb.journal.record.containers)) container.state = "stopped";
    await removeRecord(sb.engine.root, sb.journal);
    await sb.hooks.notify("afterDelete", { sandbox: sb.id });
  });
}
