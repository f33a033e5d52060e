import type { Empty, OomEventMessage } from "tapvisor/protocol";
import type { Agent } from "../agent.ts";
import { StatusError } from "../status.ts";
import type { RpcContext } from "../unary.ts";

/** Waits for the next container in which memory ran out. One whose answer does not arrive is told to the next caller. */
export async function getOomEvent(agent: Agent, _request: Empty, { signal, onUndelivered }: RpcContext): Promise<OomEventMessage> {
  if (!agent.sandbox) throw new StatusError("FAILED_PRECONDITION", "Cannot wait for an event of a sandbox: there is none");
  await agent.oom.begin(agent.containers.values());
  const container_id = await agent.oom.next(signal);
  onUndelivered(() => agent.oom.putBack(container_id));
  return { container_id };
}
