import { isTapvisorError, messageOf } from "../base/errors.ts";
import type { EngineContext, SandboxContext } from "../engine/context.ts";
import { RECORD_VERSION, type SandboxRecord } from "../engine/record.ts";
import { thisProcess } from "./owner.ts";
import { removeRecord } from "./remove-record.ts";
import { moveSandbox } from "./state.ts";

/** The record of a sandbox that this process is about to make. */
export async function newRecord(engine: EngineContext, config: SandboxRecord["config"]): Promise<SandboxRecord> {
  return {
    version: RECORD_VERSION,
    id: config.id,
    created: new Date().toISOString(),
    owner: await thisProcess(),
    config,
    providers: engine.providers,
    state: "creating",
    annotations: { ...config.annotations },
    holdings: [],
    devices: {},
    nextHolding: 1,
    containers: {},
  };
}

/** Removes the record of a sandbox whose rollback left nothing; otherwise it stays, as `failed`, for `delete` and `gc`. */
export async function forget(sb: SandboxContext, thrown: unknown): Promise<void> {
  try {
    await sb.guest.disconnect();
    if (sb.journal.record.holdings.length > 0) await moveSandbox(sb, "failed");
    else await removeRecord(sb.engine.root, sb.journal);
  } catch (failure) {
    const left = { step: "record", owner: `stateStore:${sb.engine.providers.stateStore}`, kind: "record", reason: messageOf(failure) };
    sb.log.error(left, "could not be released");
    if (isTapvisorError(thrown))
      thrown.rollback = { undone: thrown.rollback?.undone ?? [], left: [...(thrown.rollback?.left ?? []), left] };
  }
}
