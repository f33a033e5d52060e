import { withDeadline } from "../base/deadline.ts";
import { DEADLINES } from "../config/defaults.ts";
import type { GuestProcessInfo } from "../contracts/agent.ts";
import type { SandboxContext } from "../engine/context.ts";
import { requireSandbox } from "../sandbox/state.ts";
import { requireContainer } from "./state.ts";

/** Asks the guest which processes run in a container. @throws INVALID_STATE, AGENT_LOST, TIMEOUT after 30 s. */
export async function listProcesses(sb: SandboxContext, id: string, signal: AbortSignal | undefined): Promise<readonly GuestProcessInfo[]> {
  requireSandbox(sb, "list the processes of the container", "running");
  requireContainer(sb, id, "list the processes of", "running", "paused");
  const wait = { what: `the processes of container "${id}"`, timeoutMs: DEADLINES.agent, signal };
  return withDeadline(wait, (inner) => sb.guest.client.listProcesses(id, { signal: inner, log: sb.log }));
}
