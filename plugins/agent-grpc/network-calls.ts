import { type AgentNetwork, type Call, checkMac, type GuestInterface } from "tapvisor/plugin";
import {
  checkInterface,
  checkNeighbors,
  checkRoutes,
  interfacesFromWire,
  interfaceToWire,
  listedInterface,
  neighborsToWire,
  routesFromWire,
  routesToWire,
  agentServiceDefinition as rpc,
} from "tapvisor/protocol";
import { told } from "./answers.ts";
import type { Failure } from "./errors.ts";
import { isNotFound } from "./kata-quirks.ts";
import type { Send } from "./sender.ts";

/** A message of nothing, as a Kata agent answers for an interface that is gone. */
const NO_INTERFACE = interfaceToWire({ name: "", mac: "", mtu: 0, addresses: [] });

/** The calls about the guest's network. */
export function networkCalls(send: Send): AgentNetwork {
  async function change(name: "UpdateInterface" | "AddInterface", wanted: GuestInterface, call: Call): Promise<GuestInterface> {
    const checked = checkInterface(wanted, "interface");
    const subject = `interface ${checked.mac}`;
    const answer = await send(name, rpc[name], { interface: interfaceToWire(checked) }, call, { subject });
    return told(`${subject} after ${name}`, () => listedInterface(answer, "interface"));
  }

  return {
    listInterfaces: async (call) => {
      const answer = await send("ListInterfaces", rpc.ListInterfaces, {}, call);
      return told("interfaces of the guest", () => interfacesFromWire(answer, "interfaces"));
    },
    updateInterface: (wanted, call) => change("UpdateInterface", wanted, call),
    addInterface: (wanted, call) => change("AddInterface", wanted, call),
    removeInterface: async (mac, call) => {
      const hwAddr = checkMac("mac", mac);
      await send("RemoveInterface", rpc.RemoveInterface, { interface: { ...NO_INTERFACE, hwAddr } }, call, {
        subject: `interface ${hwAddr}`,
        answerFor: (failure: Failure) => (isNotFound(failure) ? NO_INTERFACE : undefined),
      });
    },
    listRoutes: async (call) => {
      const answer = await send("ListRoutes", rpc.ListRoutes, {}, call);
      return told("routes of the guest", () => routesFromWire(answer, "routes"));
    },
    updateRoutes: async (wanted, call) => {
      const routes = routesToWire(checkRoutes(wanted, "routes"));
      const answer = await send("UpdateRoutes", rpc.UpdateRoutes, { routes }, call);
      return told("routes of the guest", () => routesFromWire(answer, "routes"));
    },
    addArpNeighbors: async (neighbors, call) => {
      const request = { neighbors: neighborsToWire(checkNeighbors(neighbors, "neighbors")) };
      await send("AddARPNeighbors", rpc.AddARPNeighbors, request, call);
    },
  };
}
