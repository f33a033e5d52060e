import type { SandboxContext } from "../engine/context.ts";
import type { ContainerRecord } from "../engine/record.ts";
import { releaseHoldings } from "../engine/release.ts";
import { isOf } from "./stop.ts";

/**
 * Ends what an owner that died was doing with a sandbox's containers, as its own rollback would have: one that was being created is removed,
 * one that was being started is `stopped`. What cannot be released stays in the record, the container as `failed`.
 */
export async function undoUnfinished(sb: SandboxContext): Promise<void> {
  const { record } = sb.journal;
  for (const container of Object.values(record.containers)) {
    if (container.state === "creating") {
      if (await isReleased(sb, container, undefined)) delete record.containers[container.id];
    } else if (container.state === "ready" || container.state === "stopped") {
      const started = record.holdings.some(({ kind, container: of }) => of === container.id && kind === "guest-process");
      if (started && (await isReleased(sb, container, "guest-process"))) container.state = "stopped";
    }
  }
  await sb.journal.save();
}

async function isReleased(sb: SandboxContext, container: ContainerRecord, kind: string | undefined): Promise<boolean> {
  const of = isOf(container.id);
  const { left } = await releaseHoldings(sb, (holding) => of(holding) && (kind === undefined || holding.kind === kind));
  if (left.length > 0) container.state = "failed";
  return left.length === 0;
}
