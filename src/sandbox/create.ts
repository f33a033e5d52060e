import { DEADLINES } from "../config/defaults.ts";
import { type SandboxOptions, sandboxConfig } from "../config/sandbox-config.ts";
import type { EngineContext, SandboxContext } from "../engine/context.ts";
import { Journal } from "../engine/journal.ts";
import { transact } from "../engine/transaction.ts";
import { BOOT_STEPS, bootVm } from "./boot.ts";
import { sandboxContext } from "./context.ts";
import { forget, newRecord } from "./new-record.ts";
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
