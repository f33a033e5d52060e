import { isTapvisorError, type LeftHolding } from "../base/errors.ts";
import { DEADLINES } from "../config/defaults.ts";
import { handOverDisks } from "../device/hand-over.ts";
import type { SandboxContext } from "../engine/context.ts";
import { ENGINE } from "../engine/holders.ts";
import { releaseHoldings, releaseUnsaved } from "../engine/release.ts";
import { transact } from "../engine/transaction.ts";
import { RESOURCES } from "../resource/ledger.ts";
import { exclusively } from "../sandbox/exclusively.ts";
import type { GuestProcessIntent } from "../sandbox/own-holdings.ts";
import { requireSandbox } from "../sandbox/state.ts";
import { isOf, releaseIncomplete } from "../sandbox/stop.ts";
import { vmGrantOf } from "../sandbox/vm-grant.ts";
import { recordExit } from "./exit.ts";
import { followProcess } from "./guest-process.ts";
import { type GuestStreams, guestStreams } from "./guest-streams.ts";
import { expectHooks, RUN_HOOKS_STEP, runCreateHooks, runPoststartHooks } from "./oci-hooks.ts";
import { PLUG_IN_STEPS, plugIn } from "./plug-in.ts";
import { containerRecord, moveContainer, noteContainer, requireContainer } from "./state.ts";

/** The steps of starting a container; the plug-in steps and OCI hooks run only when it had been stopped. */
export const START_CONTAINER_STEPS = [...PLUG_IN_STEPS, RUN_HOOKS_STEP, "start-process", "commit"] as const;

/**
 * Starts the container's process. One that had stopped is plugged in anew first.
 * @throws COMMAND_NOT_FOUND, COMMAND_NOT_EXECUTABLE, INVALID_STATE, RELEASE_INCOMPLETE; the container is `stopped` after a failure, `failed`
 * when something of it could not be released.
 */
export function startContainer(sb: SandboxContext, id: string, signal: AbortSignal | undefined): Promise<void> {
  return exclusively(sb, signal, async () => {
    requireSandbox(sb, "start the container", "running");
    requireContainer(sb, id, "start", "ready", "stopped");
    const record = containerRecord(sb, id);
    await sb.hooks.amend("beforeStart", { sandbox: sb.id, container: id });
    const operation = { name: "start container", steps: START_CONTAINER_STEPS, sandbox: sb.id, container: id, signal };
    let streams: GuestStreams | undefined;
    try {
      await transact(sb, operation, async (tx) => {
        if (record.state === "stopped") {
          await releaseEarlier(sb, id);
          expectHooks(sb, record.config);
          await plugIn(sb, tx, record.config);
          await runCreateHooks(sb, tx, record.config);
        }
        delete record.exitCode;
        delete record.oomKilled;
        const intent: GuestProcessIntent = { vm: vmGrantOf(sb), container: id };
        const own = { container: id, exec: id };
        streams = sb.guest.client.openOutput && guestStreams(sb.guest.client, own, sb.log);
        await tx.acquire("start-process", { owner: ENGINE, kind: "guest-process" }, intent, DEADLINES.agent);
        const process = followProcess(sb.guest.client, own, !sb.journal.record.config.detached, sb.log, streams);
        sb.processes.set(id, process);
        await tx.run("commit", DEADLINES.release, () => moveContainer(sb, id, "running"));
        await sb.hooks.notify("afterStart", { sandbox: sb.id, container: id });
        void recordExit(sb, id, process);
      });
    } catch (error) {
      streams?.close();
      sb.processes.get(id)?.close();
      sb.processes.delete(id);
      const left = await giveBackResources(sb, id);
      if (isTapvisorError(error) && left.length > 0) {
        error.rollback = { undone: error.rollback?.undone ?? [], left: [...(error.rollback?.left ?? []), ...left] };
      }
      const incomplete = sb.journal.record.holdings.some(({ container, status }) => container === id && status === "failed");
      await noteContainer(sb, id, incomplete ? "failed" : "stopped");
      throw error;
    }
    await runPoststartHooks(sb, record.config, signal);
  });
}

/** A container that could not be started is stopped, and one that is stopped has no share of the VM's vCPUs and memory. */
async function giveBackResources(sb: SandboxContext, id: string): Promise<readonly LeftHolding[]> {
  const { holdings } = sb.journal.record;
  const held = holdings
    .filter(({ container, kind, status }) => container === id && kind === RESOURCES && status === "held")
    .map((each) => each.id);
  return (await releaseUnsaved(sb, (holding) => held.includes(holding.id))).left;
}

/** Gives back what a stopped container still has, its files for one, since what comes anew has the same names. @throws RELEASE_INCOMPLETE. */
async function releaseEarlier(sb: SandboxContext, id: string): Promise<void> {
  sb.processes.get(id)?.close();
  handOverDisks(sb, id);
  const { left } = await releaseHoldings(sb, isOf(id));
  if (left.length > 0) throw releaseIncomplete(id, left);
}
