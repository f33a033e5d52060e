import type { CreateContainerRequest, Empty } from "tapvisor/protocol";
import type { Agent } from "../agent.ts";
import { createContainer as create } from "../container/create-container.ts";
import type { RpcContext } from "../unary.ts";

export async function createContainer(agent: Agent, request: CreateContainerRequest, { signal }: RpcContext): Promise<Empty> {
  await create(agent, request, signal);
  return {};
}
