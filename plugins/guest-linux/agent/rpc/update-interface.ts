import { IFF_NOARP, type InterfaceMessage, type InterfaceRequest, interfaceFromWire } from "tapvisor/protocol";
import type { Agent } from "../agent.ts";
import { awaitLink, changeInterface } from "../network/change-interface.ts";
import { linkMessage } from "../network/message.ts";
import type { RpcContext } from "../unary.ts";

/** A card that is said to be plugged in somewhere is waited for; where it is does not matter, for its MAC is its name. */
export function updateInterface(agent: Agent, request: InterfaceRequest, context: RpcContext): Promise<InterfaceMessage> {
  return change(agent, request, request.interface?.pciAddr !== "", context);
}

/** The same for a card that was plugged in just now: it is waited for. */
export function addInterface(agent: Agent, request: InterfaceRequest, context: RpcContext): Promise<InterfaceMessage> {
  return change(agent, request, true, context);
}

async function change(agent: Agent, request: InterfaceRequest, isNew: boolean, { signal }: RpcContext): Promise<InterfaceMessage> {
  const wanted = interfaceFromWire(request.interface, "interface");
  const noArp = ((request.interface?.raw_flags ?? 0) & IFF_NOARP) !== 0;
  await agent.modules.network();
  return agent.networkTurns.run(async () => {
    if (isNew) await awaitLink(agent, wanted.mac, signal);
    return linkMessage(await changeInterface(agent, { ...wanted, noArp }, signal));
  }, signal);
}
