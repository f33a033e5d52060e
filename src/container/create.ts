import { messageOf, TapvisorError } from "../base/errors.ts";
import { type BundleOptions, type ContainerOptions, containerConfig, shortForm } from "../config/container-config.ts";
import { DEADLINES } from "../config/defaults.ts";
import type { SandboxContext } from "../engine/context.ts";
import { transact } from "../engine/transaction.ts";
import { exclusively } from "../sandbox/exclusively.ts";
import { requireSandbox } from "../sandbox/state.ts";
import { expectHooks, RUN_HOOKS_STEP, runCreateHooks } from "./oci-hooks.ts";
import { PLUG_IN_STEPS, plugIn } from "./plug-in.ts";
import { moveContainer, noteContainer } from "./state.ts";

/** The steps of creating a container, in order: the record first, so that a crash leaves a trace. */
export const CREATE_CONTAINER_STEPS = ["record", ...PLUG_IN_STEPS, RUN_HOOKS_STEP, "commit"] as const;

/** Creates a container: its files are plugged into the VM, the guest has it; state `ready`. A failure leaves nothing. Gives its id. */
export async function createContainer(
  sb: SandboxContext,
  options: ContainerOptions | BundleOptions,
  signal: AbortSignal | undefined,
): Promise<string> {
  const given = shortForm(options);
  const { id } = containerConfig(given);
  const amended = await sb.hooks.amend("beforeCreate", { sandbox: sb.id, container: id, config: { ...given, id } });
  const config = containerConfig({ ...amended.config, id });

  await exclusively(sb, signal, async () => {
    requireSandbox(sb, "create a container", "ready", "running");
    const { containers } = sb.journal.record;
    if (Object.hasOwn(containers, id)) {
      throw new TapvisorError("ALREADY_EXISTS", `Cannot create container "${id}": sandbox "${sb.id}" has one of this id`, {
        data: { kind: "container", id },
      });
    }
    const operation = { name: "create container", steps: CREATE_CONTAINER_STEPS, sandbox: sb.id, container: id, signal };
    try {
      await transact(sb, operation, async (tx) => {
        await tx.run("record", DEADLINES.release, async () => {
          const created = new Date().toISOString();
          containers[id] = { id, created, config, state: "creating", annotations: { ...config.annotations } };
          expectHooks(sb, config);
        });
        await plugIn(sb, tx, config);
        await runCreateHooks(sb, tx, config);
        await tx.run("commit", DEADLINES.release, () => moveContainer(sb, id, "ready"));
        await sb.hooks.notify("afterCreate", { sandbox: sb.id, container: id });
      });
    } catch (error) {
      await forget(sb, id).catch((failure) => sb.log.error({ container: id, reason: messageOf(failure) }, "could not store the rollback"));
      throw error;
    }
  });
  return id;
}

/** Drops the record of a container whose rollback left nothing; otherwise it stays, as `failed`. */
async function forget(sb: SandboxContext, id: string): Promise<void> {
  if (sb.journal.record.holdings.some((holding) => holding.container === id)) return noteContainer(sb, id, "failed");
  delete sb.journal.record.containers[id];
  await sb.journal.save();
}
