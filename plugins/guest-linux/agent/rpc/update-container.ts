import { type Empty, resourcesFromWire, type UpdateContainerRequest } from "tapvisor/protocol";
import { type Agent, findContainer } from "../agent.ts";
import { updateContainer as update } from "../container/update-container.ts";
import { StatusError } from "../status.ts";
import type { RpcContext } from "../unary.ts";

export async function updateContainer(agent: Agent, request: UpdateContainerRequest, { signal }: RpcContext): Promise<Empty> {
  const container = findContainer(agent, request.container_id);
  if (!request.resources) throw new StatusError("INVALID_ARGUMENT", "Cannot update the container: the request has no resources");
  await update(container, resourcesFromWire(request.resources, "resources"), signal);
  return {};
}
