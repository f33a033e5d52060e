import type { SandboxContext } from "../engine/context.ts";
import { exclusively } from "./exclusively.ts";

/** Lets go of a detached sandbox: it goes on without this process, and another can attach to it. */
export function letGo(sb: SandboxContext): Promise<void> {
  return exclusively(sb, undefined, async () => {
    for (const process of sb.processes.values()) process.close();
    sb.processes.clear();
    await sb.guest.disconnect();
    sb.journal.record.owner = null;
    await sb.journal.save();
  });
}
