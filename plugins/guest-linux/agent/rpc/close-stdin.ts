import type { Empty, ProcessRequest } from "tapvisor/protocol";
import { type Agent, findContainer } from "../agent.ts";

export async function closeStdin(agent: Agent, request: ProcessRequest): Promise<Empty> {
  findContainer(agent, request.container_id)
    .process(request.exec_id || request.container_id)
    .pipes.stdin.close();
  return {};
}
