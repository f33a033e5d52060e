import { constants } from "node:os";
import { withDeadline } from "../base/deadline.ts";
import { isTapvisorError } from "../base/errors.ts";
import { DEADLINES } from "../config/defaults.ts";
import type { SandboxContext } from "../engine/context.ts";
import type { StopOptions } from "../sandbox/stop.ts";
import { askGuest } from "./pause.ts";

/** Ends a container's process: SIGTERM, and when it has not ended in time SIGKILL to all its processes. Resolves when it has ended. */
export async function terminate(sb: SandboxContext, id: string, options: StopOptions): Promise<void> {
  const process = sb.processes.get(id);
  if (!process) return;
  const target = { container: id, exec: id };
  const timeoutMs = options.force ? sb.releaseTimeoutMs : DEADLINES.agent;
  const send = (signal: number, all: boolean) =>
    withDeadline({ what: `the signal to container "${id}"`, timeoutMs, signal: options.signal }, (inner) =>
      sb.guest.client.signalProcess(target, signal, all, { signal: inner, log: sb.log }),
    );
  if (!options.force) {
    // A frozen process does not act on SIGTERM; SIGKILL ends it all the same.
    if (sb.journal.record.containers[id]?.state === "paused") await askGuest(sb, id, "resume", options.signal);
    await send(constants.signals.SIGTERM, false);
    if (await endsWithin(process.exited, options.timeoutMs ?? DEADLINES.stop, options.signal)) return;
  }
  await send(constants.signals.SIGKILL, true);
  await withDeadline({ what: `container "${id}" to end`, timeoutMs, signal: options.signal }, () => process.exited);
}

async function endsWithin(exited: Promise<unknown>, timeoutMs: number, signal: AbortSignal | undefined): Promise<boolean> {
  try {
    await withDeadline({ what: "the container to end", timeoutMs, signal }, () => exited);
    return true;
  } catch (error) {
    if (isTapvisorError(error) && error.code === "TIMEOUT") return false;
    throw error;
  }
}
