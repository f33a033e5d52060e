import { TapvisorError } from "../../base/errors.ts";

/** What the agent answers when it refuses: the gRPC status is the one Kata's agent gives. */
export function agentError(method: string, status: string, reason: string): TapvisorError {
  return new TapvisorError("AGENT_FAILED", `Cannot finish ${method}: the agent answered ${status} (${reason})`, {
    data: { method, status },
  });
}
