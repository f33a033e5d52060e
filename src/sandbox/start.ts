import { DEADLINES } from "../config/defaults.ts";
import type { SandboxContext } from "../engine/context.ts";
import { transact } from "../engine/transaction.ts";
import { BOOT_STEPS, bootVm } from "./boot.ts";
import { exclusively } from "./exclusively.ts";
import { moveSandbox, requireSandbox, restoreSandbox } from "./state.ts";

/** The steps of starting a sandbox; the boot steps run only when it had been stopped. */
export const START_SANDBOX_STEPS = [...BOOT_STEPS, "commit"] as const;

/** Makes a sandbox run: containers can be started in it. A stopped one boots anew first. Running already is success. */
export function startSandbox(sb: SandboxContext, signal: AbortSignal | undefined): Promise<void> {
  return exclusively(sb, signal, async () => {
    const { record } = sb.journal;
    if (record.state === "running") return;
    requireSandbox(sb, "start the sandbox", "ready", "stopped");
    await sb.hooks.amend("beforeStart", { sandbox: sb.id });
    const before = record.state;
    try {
      await transact(sb, { name: "start sandbox", steps: START_SANDBOX_STEPS, sandbox: sb.id, signal }, async (tx) => {
        if (before === "stopped") await bootVm(sb, tx);
        await sb.hooks.notify("afterStart", { sandbox: sb.id });
        await tx.run("commit", DEADLINES.release, () => moveSandbox(sb, "running"));
      });
    } catch (error) {
      await restoreSandbox(sb, before, error);
      throw error;
    }
  });
}
