import type { Empty, InterfacesMessage } from "tapvisor/protocol";
import type { Agent } from "../agent.ts";
import { linksOf } from "../network/links.ts";
import { linkMessage } from "../network/message.ts";

export async function listInterfaces(agent: Agent, _request: Empty): Promise<InterfacesMessage> {
  await agent.modules.network();
  return { Interfaces: (await linksOf(agent)).map(linkMessage) };
}
