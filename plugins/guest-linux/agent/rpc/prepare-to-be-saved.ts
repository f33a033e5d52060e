import type { Empty } from "tapvisor/protocol";
import type { Agent } from "../agent.ts";
import { Renewer } from "../identity/renewer.ts";
import { settleHeap } from "../identity/settle.ts";
import { StatusError } from "../status.ts";
import type { RpcContext } from "../unary.ts";

/** Has all drivers loaded, which a guest that goes on would load otherwise, and a process that waits to renew it. Again is nothing new. */
export async function prepareToBeSaved(agent: Agent, _request: Empty, { signal }: RpcContext): Promise<Empty> {
  if (agent.sandbox) {
    throw new StatusError("FAILED_PRECONDITION", `Cannot prepare to be saved: there is a sandbox: ${JSON.stringify(agent.sandbox.id)}`);
  }
  await agent.modules.loadAll();
  if (!agent.renewer || agent.renewer.ended) agent.renewer = await Renewer.start(agent.paths, signal, agent.port?.descriptor);
  settleHeap();
  return {};
}
