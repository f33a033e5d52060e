import { messageOf } from "../base/errors.ts";
import type { SandboxContext } from "../engine/context.ts";
import type { GuestProcess } from "./guest-process.ts";
import { noteContainer } from "./state.ts";

/**
 * Waits for the container's process to end and records its exit code; state `stopped`. Its files stay plugged in until it is deleted or
 * started again, since its output may still be unread.
 */
export async function recordExit(sb: SandboxContext, id: string, process: GuestProcess): Promise<void> {
  try {
    const exitCode = await process.exited;
    const record = sb.journal.record.containers[id];
    if (!record || sb.processes.get(id) !== process) return;
    record.exitCode = exitCode;
    for (const holding of sb.journal.record.holdings.filter((each) => each.container === id && each.kind === "guest-process"))
      sb.journal.drop(holding);
    if (record.state === "running" || record.state === "paused") await noteContainer(sb, id, "stopped");
  } catch (error) {
    sb.log.debug({ container: id, reason: messageOf(error) }, "no longer following the container's process");
  }
}
