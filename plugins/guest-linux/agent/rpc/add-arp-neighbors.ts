import { type AddArpNeighborsRequest, type Empty, neighborsFromWire } from "tapvisor/protocol";
import type { Agent } from "../agent.ts";
import { addNeighbors } from "../network/add-neighbors.ts";
import type { RpcContext } from "../unary.ts";

export async function addArpNeighbors(agent: Agent, request: AddArpNeighborsRequest, { signal }: RpcContext): Promise<Empty> {
  const wanted = neighborsFromWire(request.neighbors, "neighbors");
  await agent.networkTurns.run(() => addNeighbors(agent, wanted, signal), signal);
  return {};
}
