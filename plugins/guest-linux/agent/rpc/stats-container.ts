import type { ContainerRequest, StatsContainerResponse } from "tapvisor/protocol";
import { type Agent, findContainer } from "../agent.ts";
import { containerStats } from "../stats/container-stats.ts";

export async function statsContainer(agent: Agent, { container_id }: ContainerRequest): Promise<StatsContainerResponse> {
  return containerStats(agent.paths, findContainer(agent, container_id));
}
