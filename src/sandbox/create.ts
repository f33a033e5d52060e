import { isTapvisorError, messageOf } from "../base/errors.ts";
import { DEADLINES } from "../config/defaults.ts";
import { type SandboxOptions, sandboxConfig } from "../config/sandbox-config.ts";
import type { EngineContext, SandboxContext } from "../engine/context.ts";
import { Journal } from "../engine/journal.ts";
import { RECORD_VERSION, type SandboxRecord } from "../engine/record.ts";
import { transact } from "../engine/transaction.ts";
import { BOOT_STEPS, bootVm } from "./boot.ts";
import { sandboxContext } from "./context.ts";
import { thisProcess } from "./owner.ts";
import { moveSandbox } from "./state.ts";

/** The steps of creating a sandbox, in order. `record` comes first: a duplicate id is refused before anything has happened. */
export const CREATE_SANDBOX_STEPS = ["record", ...BOOT_STEPS, "commit"] as const;

/** Creates a sandbox: its VM is booted and its agent connected; state `ready`. A failure leaves nothing. */
export async function createSandbox(
  engine: EngineContext,
  options: SandboxOptions,
  signal: AbortSignal | undefined,
): Promise<SandboxContext> {
  const { id } = sandboxConfig(options);
  const amended = await engine.hooks.amend("beforeCreate", { sandbox: id, config: { ...options, id } });
  const config = sandboxConfig({ ...amended.config, id });

  const sb = sandboxContext(engine, Journal.draft(engine.store, await newRecord(engine, config)));
  try {
    // No lock: until it is ready nobody else touches a sandbox whose owner lives.
    await transact(sb, { name: "create sandbox", steps: CREATE_SANDBOX_STEPS, sandbox: id, signal }, async (tx) => {
      await tx.run("record", DEADLINES.release, () => sb.journal.store());
      await bootVm(sb, tx);
      await tx.run("commit", DEADLINES.release, () => moveSandbox(sb, "ready"));
      await engine.hooks.notify("afterCreate", { sandbox: id });
    });
    return sb;
  } catch (error) {
    await forget(sb, error);
    throw error;
  }
}

/** Removes the record of a sandbox whose rollback left nothing; otherwise it stays, as `failed`, for `delete` and `gc`. */
async function forget(sb: SandboxContext, thrown: unknown): Promise<void> {
  try {
    await sb.guest.disconnect();
    if (sb.journal.record.holdings.length > 0) await moveSandbox(sb, "failed");
    else await sb.journal.remove();
  } catch (failure) {
    const left = { step: "record", owner: `stateStore:${sb.engine.providers.stateStore}`, kind: "record", reason: messageOf(failure) };
    sb.log.error(left, "could not be released");
    if (isTapvisorError(thrown))
      thrown.rollback = { undone: thrown.rollback?.undone ?? [], left: [...(thrown.rollback?.left ?? []), left] };
  }
}

async function newRecord(engine: EngineContext, config: SandboxRecord["config"]): Promise<SandboxRecord> {
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
