import { type RoutesMessage, routesFromWire, routesToWire, type UpdateRoutesRequest } from "tapvisor/protocol";
import type { Agent } from "../agent.ts";
import { updateRoutes as update } from "../network/update-routes.ts";
import type { RpcContext } from "../unary.ts";

export async function updateRoutes(agent: Agent, request: UpdateRoutesRequest, { signal }: RpcContext): Promise<RoutesMessage> {
  const wanted = routesFromWire(request.routes, "routes");
  return agent.networkTurns.run(async () => routesToWire(await update(agent, wanted, signal)), signal);
}
