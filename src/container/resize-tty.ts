import { withDeadline } from "../base/deadline.ts";
import { DEADLINES } from "../config/defaults.ts";
import { ttySizeConfig } from "../config/exec-config.ts";
import type { TtySize } from "../config/process-config.ts";
import type { SandboxContext } from "../engine/context.ts";
import { requireSandbox } from "../sandbox/state.ts";
import { requireContainer } from "./state.ts";

/** Sets the size of the terminal of a container's own process. @throws INVALID_INPUT, INVALID_STATE, AGENT_FAILED when it has none. */
export async function resizeTty(sb: SandboxContext, id: string, size: unknown, signal: AbortSignal | undefined): Promise<void> {
  const checked: TtySize = ttySizeConfig(size);
  requireSandbox(sb, "resize the container's terminal", "running");
  requireContainer(sb, id, "resize the terminal of", "running");
  const wait = { what: `the terminal of container "${id}"`, timeoutMs: DEADLINES.agent, signal };
  await withDeadline(wait, (inner) => sb.guest.client.resizeTty({ container: id, exec: id }, checked, { signal: inner, log: sb.log }));
}
