import { type Empty, type RoutesMessage, routesToWire } from "tapvisor/protocol";
import type { Agent } from "../agent.ts";
import { routesOf } from "../network/routes.ts";

export async function listRoutes(agent: Agent, _request: Empty): Promise<RoutesMessage> {
  return routesToWire(await routesOf(agent));
}
