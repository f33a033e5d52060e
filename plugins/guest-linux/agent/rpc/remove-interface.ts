import { checkMac } from "tapvisor/plugin";
import type { InterfaceMessage, InterfaceRequest } from "tapvisor/protocol";
import type { Agent } from "../agent.ts";
import { removeInterface as remove } from "../network/change-interface.ts";
import { linkMessage } from "../network/message.ts";
import type { RpcContext } from "../unary.ts";

/** Only the MAC is looked at. Answers with what was there. */
export async function removeInterface(agent: Agent, request: InterfaceRequest, { signal }: RpcContext): Promise<InterfaceMessage> {
  const mac = checkMac("interface.hwAddr", request.interface?.hwAddr ?? "");
  await agent.modules.network();
  return agent.networkTurns.run(async () => linkMessage(await remove(agent, mac, signal)), signal);
}
