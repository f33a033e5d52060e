import { withDeadline } from "../base/deadline.ts";
import { messageOf } from "../base/errors.ts";
import { DEADLINES } from "../config/defaults.ts";
import type { SandboxContext } from "../engine/context.ts";
import { exclusively } from "../sandbox/exclusively.ts";
import { requireSandbox } from "../sandbox/state.ts";
import { moveContainer, requireContainer } from "./state.ts";

/** Freezes the container's processes. @throws INVALID_STATE when it does not run. */
export function pauseContainer(sb: SandboxContext, id: string, signal: AbortSignal | undefined): Promise<void> {
  return change(sb, id, { verb: "pause", from: "running", to: "paused", signal });
}

/** Lets a paused container go on. @throws INVALID_STATE when it is not paused. */
export function resumeContainer(sb: SandboxContext, id: string, signal: AbortSignal | undefined): Promise<void> {
  return change(sb, id, { verb: "resume", from: "paused", to: "running", signal });
}

interface Change {
  readonly verb: "pause" | "resume";
  readonly from: "running" | "paused";
  readonly to: "running" | "paused";
  readonly signal: AbortSignal | undefined;
}

/** What may have taken effect in the guest before it failed is taken back: the container is as its state says. */
function change(sb: SandboxContext, id: string, { verb, from, to, signal }: Change): Promise<void> {
  return exclusively(sb, signal, async () => {
    requireSandbox(sb, verb, "running");
    requireContainer(sb, id, verb, from);
    try {
      await askGuest(sb, id, verb, signal);
      await moveContainer(sb, id, to);
    } catch (error) {
      const opposite = verb === "pause" ? "resume" : "pause";
      await askGuest(sb, id, opposite, undefined).catch((failure) =>
        sb.log.error({ container: id, reason: messageOf(failure) }, `could not ${opposite} the container again`),
      );
      throw error;
    }
  });
}

export function askGuest(sb: SandboxContext, id: string, verb: "pause" | "resume", signal: AbortSignal | undefined): Promise<void> {
  return withDeadline({ what: `container "${id}" to ${verb}`, timeoutMs: DEADLINES.agent, signal }, (inner) => {
    const call = { signal: inner, log: sb.log };
    return verb === "pause" ? sb.guest.client.pauseContainer(id, call) : sb.guest.client.resumeContainer(id, call);
  });
}
