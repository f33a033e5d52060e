import { isTapvisorError, type LeftHolding, messageOf } from "../base/errors.ts";
import { isAlive } from "../base/process-identity.ts";
import { sandboxContext } from "../sandbox/context.ts";
import { locked } from "../sandbox/exclusively.ts";
import { type Hands, isHeld } from "../sandbox/open.ts";
import { removeRecord } from "../sandbox/remove-record.ts";
import { releaseSandbox } from "../sandbox/stop.ts";
import { findVm } from "../sandbox/vm-grant.ts";
import { sweepTemplates } from "../template/prune.ts";
import { sweepVolumes } from "../volume/volumes.ts";
import type { EngineContext } from "./context.ts";
import { Journal } from "./journal.ts";

/** What a collection found and did. */
export interface CollectReport {
  /** Sandboxes that a dead script had left: everything of theirs has been given back. */
  readonly collected: readonly string[];
  /** Sandboxes in use, and detached ones whose VM runs. */
  readonly kept: readonly string[];
  /** Sandboxes of which something could not be given back: it is tried again next time. */
  readonly failed: readonly { readonly id: string; readonly left: readonly LeftHolding[] }[];
  /** Records that cannot be read, by what says so. */
  readonly corrupt: readonly { readonly id: string; readonly reason: string }[];
}

/** Gives back what dead scripts have left, and tries failed releases again. A live process's sandbox is never touched, nor a stranger's anything. */
export async function collect(engine: EngineContext, hands: Hands): Promise<CollectReport> {
  const report = {
    collected: [] as string[],
    kept: [] as string[],
    failed: [] as { id: string; left: readonly LeftHolding[] }[],
    corrupt: [] as { id: string; reason: string }[],
  };
  await sweepVolumes(engine.root);
  await sweepTemplates(engine.templates.directory);
  await engine.host.collect();
  for (const id of await engine.store.list()) {
    try {
      const outcome = await collectOne(engine, id, hands);
      if (outcome !== "gone") report[outcome].push(id);
    } catch (error) {
      if (isTapvisorError(error) && error.code === "RELEASE_INCOMPLETE") report.failed.push({ id, left: error.data.left });
      else report.corrupt.push({ id, reason: messageOf(error) });
    }
  }
  return report;
}

async function collectOne(engine: EngineContext, id: string, hands: Hands): Promise<"collected" | "kept" | "gone"> {
  const early = await look(engine, id, hands);
  if (typeof early === "string") return early; // what is in use is not waited for
  return locked(engine, id, undefined, async () => {
    // Read again: another process may have collected or adopted it meanwhile, or made a new one of the same id.
    const journal = await look(engine, id, hands);
    if (typeof journal === "string") return journal;
    await releaseSandbox(sandboxContext(engine, journal), true);
    await removeRecord(engine.root, journal);
    return "collected";
  });
}

async function look(engine: EngineContext, id: string, hands: Hands): Promise<Journal | "kept" | "gone"> {
  const journal = await Journal.open(engine.store, id);
  if (!journal) return "gone";
  return (await isInUse(journal, hands)) ? "kept" : journal;
}

async function isInUse(journal: Journal, hands: Hands): Promise<boolean> {
  const { record } = journal;
  if (await isHeld(journal, hands)) return true;
  if (record.state === "failed" || record.state === "creating") return false;
  if (!record.config.detached) return false;
  const vm = findVm(record)?.grant;
  return vm?.process ? isAlive(vm.process) : record.state === "stopped";
}
