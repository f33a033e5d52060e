import { isTapvisorError, withDeadline } from "tapvisor/plugin";
import type { Empty, RemoveContainerRequest } from "tapvisor/protocol";
import { type Agent, findContainer } from "../agent.ts";
import { releaseContainer } from "../container/release-container.ts";
import { StatusError } from "../status.ts";
import type { RpcContext } from "../unary.ts";

/** Stands for "for ever", seconds: the call itself has a deadline. */
const NO_LIMIT_S = 24 * 3600;

/** Kills what still runs, and removes the container with its mounts and directories. @throws NOT_FOUND; DEADLINE_EXCEEDED, and it can be tried again. */
export async function removeContainer(agent: Agent, request: RemoveContainerRequest, { signal }: RpcContext): Promise<Empty> {
  const container = findContainer(agent, request.container_id);
  const seconds = request.timeout === 0 ? NO_LIMIT_S : Math.min(request.timeout, NO_LIMIT_S);
  const timeoutMs = seconds * 1000;
  try {
    await withDeadline({ what: `the removal of ${container.id}`, timeoutMs, signal }, (ended) =>
      container.turns.run(async () => {
        if (agent.containers.get(container.id) === container) await releaseContainer(agent, container, timeoutMs);
      }, ended),
    );
  } catch (error) {
    if (isTapvisorError(error) && error.code === "TIMEOUT") throw new StatusError("DEADLINE_EXCEEDED", `Timeout reached after ${seconds}s`);
    throw error;
  }
  return {};
}
