import { withDeadline } from "../base/deadline.ts";
import { isTapvisorError, TapvisorError } from "../base/errors.ts";
import { DEADLINES } from "../config/defaults.ts";
import { recordExit } from "../container/exit.ts";
import { followProcess } from "../container/guest-process.ts";
import { vmGrantOf } from "../container/plug-in.ts";
import type { EngineContext, SandboxContext } from "../engine/context.ts";
import { sandboxContext } from "./context.ts";
import { exclusively } from "./exclusively.ts";
import { isHeldElsewhere, openJournal } from "./open.ts";
import { thisProcess } from "./owner.ts";
import { stopDead } from "./reconcile.ts";

/**
 * Takes a sandbox that another process made into this one's hands: connects to its VM and agent and follows its containers again. One whose
 * VM has died meanwhile becomes `stopped`.
 * @throws NOT_FOUND, LOCKED when a live process has it, STATE_CORRUPT, AGENT_LOST, TIMEOUT.
 */
export async function adoptSandbox(engine: EngineContext, id: string, signal: AbortSignal | undefined): Promise<SandboxContext> {
  const sb = sandboxContext(engine, await openJournal(engine, id));
  await exclusively(sb, signal, async () => {
    if (await isHeldElsewhere(sb.journal)) throw heldElsewhere(sb);
    sb.journal.record.owner = await thisProcess();
    await sb.journal.save();
    if (["ready", "running", "paused"].includes(sb.journal.record.state)) await reconnect(sb, signal);
  });
  return sb;
}

async function reconnect(sb: SandboxContext, signal: AbortSignal | undefined): Promise<void> {
  const vm = vmGrantOf(sb);
  try {
    await withDeadline({ what: `the VM of sandbox "${sb.id}"`, timeoutMs: DEADLINES.launch, signal }, (inner) =>
      sb.guest.connectVm(vm, { signal: inner, log: sb.log }),
    );
  } catch (error) {
    if (!isTapvisorError(error) || error.code !== "VM_FAILED") throw error;
    await stopDead(sb);
    return;
  }
  if (sb.journal.record.state === "paused") return; // a frozen agent answers when it is resumed
  await withDeadline({ what: `the agent of sandbox "${sb.id}"`, timeoutMs: DEADLINES.agent, signal }, (inner) =>
    sb.guest.connectAgent(vm, { signal: inner, log: sb.log }),
  );
  followContainers(sb);
}

/** Follows the containers that ran when the last owner let go; one that has ended meanwhile tells its exit code at once. */
export function followContainers(sb: SandboxContext): void {
  for (const { id, state } of Object.values(sb.journal.record.containers)) {
    if (state !== "running" || sb.processes.has(id)) continue;
    const process = followProcess(sb.guest.client, { container: id, exec: id }, sb.log);
    sb.processes.set(id, process);
    void recordExit(sb, id, process);
  }
}

function heldElsewhere(sb: SandboxContext): TapvisorError {
  const holder = sb.journal.record.owner?.pid;
  return new TapvisorError("LOCKED", `Cannot attach to sandbox "${sb.id}": process ${holder} has it`, {
    data: { id: sb.id, ...(holder === undefined ? {} : { holder }) },
    hint: "a sandbox belongs to one process at a time; a detached one is let go when its script ends",
  });
}
