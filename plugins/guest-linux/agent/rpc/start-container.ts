import type { ContainerRequest, Empty } from "tapvisor/protocol";
import { type Agent, findContainer } from "../agent.ts";
import { startContainer as start } from "../container/start-process.ts";
import type { RpcContext } from "../unary.ts";

export async function startContainer(agent: Agent, request: ContainerRequest, { signal }: RpcContext): Promise<Empty> {
  await start(findContainer(agent, request.container_id), signal);
  return {};
}
