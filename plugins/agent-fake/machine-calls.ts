import type { AgentNetwork, AgentSystem } from "tapvisor/plugin";
import type { Connection } from "./connection.ts";

/** The calls about the guest as a machine, and its network. */
export function machineCalls(connection: Connection): AgentNetwork & AgentSystem {
  const { network, system } = connection.vm.guest;
  return {
    listInterfaces: (call) => connection.call("agent.listInterfaces", undefined, call, () => network.interfaces),
    updateInterface: (wanted, call) =>
      connection.call("agent.updateInterface", undefined, call, () => network.update("UpdateInterface", wanted)),
    addInterface: (wanted, call) => connection.call("agent.addInterface", undefined, call, () => network.update("AddInterface", wanted)),
    removeInterface: (mac, call) => connection.call("agent.removeInterface", undefined, call, () => network.remove(mac)),
    listRoutes: (call) => connection.call("agent.listRoutes", undefined, call, () => network.routes),
    updateRoutes: (wanted, call) => connection.call("agent.updateRoutes", undefined, call, () => network.replaceRoutes(wanted)),
    addArpNeighbors: (neighbors, call) => connection.call("agent.addArpNeighbors", undefined, call, () => network.addNeighbors(neighbors)),
    check: (call) => connection.call("agent.check", undefined, call, () => {}),
    reseedRandom: (data, call) => connection.call("agent.reseedRandom", undefined, call, () => system.reseed(data)),
    setTime: (unixMs, call) => connection.call("agent.setTime", undefined, call, () => system.setTime(unixMs)),
    nextOom: (call) => connection.call("agent.nextOom", undefined, call, (signal) => connection.vm.guest.nextOom(signal)),
    probeMemory: (addresses, call) => connection.call("agent.probeMemory", undefined, call, () => system.probe(addresses)),
    startTracing: (call) => connection.call("agent.startTracing", undefined, call, () => system.trace("StartTracing")),
    stopTracing: (call) => connection.call("agent.stopTracing", undefined, call, () => system.trace("StopTracing")),
    copyFile: (file, content, call) => connection.call("agent.copyFile", undefined, call, () => system.copyFile(file, content)),
  };
}
