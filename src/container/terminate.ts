import { withDeadline } from "../base/deadline.ts";
import { isTapvisorError } from "../base/errors.ts";
import { DEADLINES } from "../config/defaults.ts";
import type { SandboxContext } from "../engine/context.ts";
import type { StopOptions } from "../sandbox/stop.ts";
import { askGuest } from "./pause.ts";
import { signalNumber } from "./signals.ts";
import { containerRecord } from "./state.ts";

/** Ends a container's process: its stop signal, SIGTERM as a rule, and when it has not ended in time SIGKILL to all its processes. Resolves when it has ended. */
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
    const { state, config } = containerRecord(sb, id);
    // A frozen process does not act on it; SIGKILL ends it all the same.
    if (state === "paused") await askGuest(sb, id, "resume", options.signal);
    await send(signalNumber(config.stopSignal), false);
    if (await endsWithin(process.exited, options.timeoutMs ?? DEADLINES.stop, options.signal)) return;
  }
  await send(signalNumber("SIGKILL"), true);
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
