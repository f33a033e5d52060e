import type { ContainerRequest, Empty } from "tapvisor/protocol";
import { type Agent, findContainer } from "../agent.ts";
import { thawCgroup } from "../container/freeze.ts";
import type { RpcContext } from "../unary.ts";

/** @throws FAILED_PRECONDITION unless the container is paused. */
export async function resumeContainer(agent: Agent, { container_id }: ContainerRequest, { signal }: RpcContext): Promise<Empty> {
  const container = findContainer(agent, container_id);
  await container.turns.run(async () => {
    container.need("resume the container", "paused");
    await thawCgroup(container.files.cgroup, signal);
    container.paused = false;
  }, signal);
  return {};
}
