import { type GuestRoute, messageOf } from "tapvisor/plugin";
import type { Agent } from "../agent.ts";
import { StatusError } from "../status.ts";
import { netTool } from "./ip.ts";
import { addWords, inOrder, type Route, removeRoutes, restoreRoutes, routesOf } from "./routes.ts";

/**
 * Has these routes beside the kernel's own, and no others: all of it, or those that were there. One that the kernel has made already is not made again.
 * @throws as netTool.
 */
export async function updateRoutes(agent: Agent, wanted: readonly GuestRoute[], signal: AbortSignal): Promise<readonly Route[]> {
  const before = await routesOf(agent);
  try {
    await removeRoutes(agent, before, signal);
    const kernels = before.filter(({ isKernels }) => isKernels);
    for (const route of inOrder(wanted)) {
      if (!kernels.some((each) => isSame(each, route))) await netTool(agent, addWords(route), signal);
    }
    signal.throwIfAborted();
  } catch (error) {
    try {
      await restoreRoutes(agent, before);
    } catch (left) {
      const text = `${messageOf(error)}; and not all routes could be put back: ${messageOf(left)}`;
      throw new StatusError("INTERNAL", text, undefined, { cause: error });
    }
    throw error;
  }
  return routesOf(agent);
}

function isSame(kernels: Route, { destination, gateway, device }: GuestRoute): boolean {
  return gateway === undefined && kernels.destination === destination && kernels.device === device;
}
