import { withDeadline } from "../base/deadline.ts";
import { isTapvisorError, TapvisorError } from "../base/errors.ts";
import { DEADLINES } from "../config/defaults.ts";
import { recordExit } from "../container/exit.ts";
import { followProcess } from "../container/guest-process.ts";
import type { EngineContext, SandboxContext } from "../engine/context.ts";
import type { Journal } from "../engine/journal.ts";
import { sandboxContext } from "./context.ts";
import { locked } from "./exclusively.ts";
import { type Hands, isHeld, openJournal } from "./open.ts";
import { thisProcess } from "./owner.ts";
import { stopDead } from "./reconcile.ts";
import { undoUnfinished } from "./undo-unfinished.ts";
import { vmGrantOf } from "./vm-grant.ts";

/**
 * Takes a sandbox that another process made into this one's hands: connects to its VM and agent and follows its containers again. One whose
 * VM has died meanwhile becomes `stopped`.
 * @throws NOT_FOUND, LOCKED when a live process has it, STATE_CORRUPT, AGENT_LOST, TIMEOUT.
 */
export async function adoptSandbox<T>(
  engine: EngineContext,
  id: string,
  signal: AbortSignal | undefined,
  hands: Hands & { keep(sb: SandboxContext): T },
): Promise<T> {
  await openUnheld(engine, id, hands); // what a live process has is not waited for
  return locked(engine, id, signal, async () => {
    const sb = sandboxContext(engine, await openUnheld(engine, id, hands)); // read again: another process may have been quicker
    sb.journal.record.owner = await thisProcess();
    await sb.journal.save();
    try {
      if (["ready", "running", "paused"].includes(sb.journal.record.state)) await reconnect(sb, signal);
    } catch (error) {
      await leave(sb);
      throw error;
    }
    return hands.keep(sb);
  });
}

/** @throws LOCKED when a live process has it. */
async function openUnheld(engine: EngineContext, id: string, hands: Hands): Promise<Journal> {
  const journal = await openJournal(engine, id);
  if (await isHeld(journal, hands)) throw held(journal);
  return journal;
}

/** An attachment that failed leaves the sandbox to whoever tries next. */
async function leave(sb: SandboxContext): Promise<void> {
  await sb.guest.disconnect();
  sb.journal.record.owner = null;
  await sb.journal.save();
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
  await resumeContainers(sb);
}

/** Follows the containers that run, and undoes what the last owner began and could not end. */
export async function resumeContainers(sb: SandboxContext): Promise<void> {
  await undoUnfinished(sb);
  followContainers(sb);
}

/** Follows the containers that ran when the last owner let go; one that has ended meanwhile tells its exit code at once. */
export function followContainers(sb: SandboxContext): void {
  for (const { id, state } of Object.values(sb.journal.record.containers)) {
    if ((state !== "running" && state !== "paused") || sb.processes.has(id)) continue;
    const process = followProcess(sb.guest.client, { container: id, exec: id }, !sb.journal.record.config.detached, sb.log);
    sb.processes.set(id, process);
    void recordExit(sb, id, process);
  }
}

function held({ record: { id, owner } }: Journal): TapvisorError {
  const holder = owner?.pid;
  return new TapvisorError("LOCKED", `Cannot attach to sandbox "${id}": process ${holder} has it`, {
    data: { id, ...(holder === undefined ? {} : { holder }) },
    hint: "a sandbox belongs to one process at a time; a detached one is let go when its script ends",
  });
}
