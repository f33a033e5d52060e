import { canResize } from "../container/plug-resources.ts";
import { RUNS_ON } from "../container/stop.ts";
import { IN_CHANGE } from "../container/update.ts";
import type { Holding } from "../contracts/holding.ts";
import type { SandboxContext } from "../engine/context.ts";
import type { ContainerRecord } from "../engine/record.ts";
import { releaseHoldings } from "../engine/release.ts";
import { RESOURCES } from "../resource/ledger.ts";
import { refit } from "../resource/refit.ts";
import { isOf } from "./stop.ts";

/**
 * Ends what an owner that died was doing with a sandbox's containers, as its own rollback would have: one that was being created is removed,
 * one that was being started is `stopped`, one that was being updated has its earlier limits. What cannot be released stays in the record, the
 * container as `failed`. Then the VM is given the size that is left.
 */
export async function undoUnfinished(sb: SandboxContext): Promise<void> {
  const { record } = sb.journal;
  for (const container of Object.values(record.containers)) {
    if (container.state === "creating") {
      if (await isReleased(sb, container, () => true)) delete record.containers[container.id];
      continue;
    }
    const held = record.holdings.filter(isOf(container.id));
    if (held.some(({ kind }) => kind === IN_CHANGE) || requestsIn(held).length > 1) {
      const [first] = requestsIn(held);
      await isReleased(sb, container, (holding) => holding.kind === IN_CHANGE || (holding.kind === RESOURCES && holding.id !== first?.id));
    }
    const started = held.some(({ kind }) => kind === "guest-process");
    const ended = container.state === "stopped" && held.some(({ kind }) => RUNS_ON.includes(kind));
    if (ended || (container.state === "ready" && started)) {
      if (await isReleased(sb, container, ({ kind }) => RUNS_ON.includes(kind))) container.state = "stopped";
    }
  }
  if (await canResize(sb)) await refit(sb);
  await sb.journal.save();
}

/** What a container has asked for; a second one is of an update under way. */
function requestsIn(held: readonly Holding[]): Holding[] {
  return held.filter(({ kind }) => kind === RESOURCES);
}

async function isReleased(sb: SandboxContext, container: ContainerRecord, wanted: (holding: Holding) => boolean): Promise<boolean> {
  const of = isOf(container.id);
  const { left } = await releaseHoldings(sb, (holding) => of(holding) && wanted(holding));
  if (left.length > 0) container.state = "failed";
  return left.length === 0;
}
