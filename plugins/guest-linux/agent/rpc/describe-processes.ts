import type { ContainerRequest, DescribeProcessesResponse } from "tapvisor/protocol";
import { type Agent, findContainer } from "../agent.ts";
import { pidsOfCgroup } from "../container/cgroup.ts";
import { processesIn } from "../stats/processes.ts";

/** The processes that run in a container now, as it counts them itself. */
export async function describeProcesses(agent: Agent, { container_id }: ContainerRequest): Promise<DescribeProcessesResponse> {
  const { cgroup } = findContainer(agent, container_id).files;
  return { processes: await processesIn(agent.paths.proc, await pidsOfCgroup(cgroup)) };
}
