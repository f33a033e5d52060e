import type { SandboxContext } from "../engine/context.ts";
import { idIn } from "./holding.ts";
import { SANDBOX } from "./manager.ts";

/**
 * Before a holder's things are released: disks that others have attached too become theirs, so that they stay plugged in. A pure change of the
 * journal; the release that follows stores it.
 */
export function handOverDisks(sb: SandboxContext, holder: string): void {
  const container = holder === SANDBOX ? undefined : holder;
  for (const holding of sb.journal.record.holdings) {
    if (holding.kind !== "disk" || holding.container !== container) continue;
    const heir = sb.journal.record.devices[idIn(holding.intent) ?? ""]?.attachments.find((each) => each !== holder);
    if (heir !== undefined) sb.journal.handOver(holding, heir === SANDBOX ? undefined : heir);
  }
}
