import type { ContainerRequest, Empty } from "tapvisor/protocol";
import { type Agent, findContainer } from "../agent.ts";
import { freezeCgroup } from "../container/freeze.ts";
import type { RpcContext } from "../unary.ts";

/** Answers when no process of the container runs any more. @throws FAILED_PRECONDITION unless it is running. */
export async function pauseContainer(agent: Agent, { container_id }: ContainerRequest, { signal }: RpcContext): Promise<Empty> {
  const container = findContainer(agent, container_id);
  await container.turns.run(async () => {
    container.need("pause the container", "running");
    await freezeCgroup(container.files.cgroup, signal);
    container.paused = true;
  }, signal);
  return {};
}
