/** Everything that the fakes do for the engine, by the name faults and the log of calls know it. */
export const FAKE_OPERATIONS = [
  "hypervisor.inspectHost",
  "hypervisor.connect",
  "hypervisor.vm.acquire",
  "hypervisor.vm.release",
  "hypervisor.share.acquire",
  "hypervisor.share.release",
  "hypervisor.disk.acquire",
  "hypervisor.disk.release",
  "hypervisor.pause",
  "hypervisor.resume",
  "hypervisor.status",
  "hypervisor.size",
  "hypervisor.resizeVcpus",
  "hypervisor.resizeMemory",
  "guest.inspectHost",
  "guest.prepare",
  "agent.connect",
  "agent.createSandbox",
  "agent.destroySandbox",
  "agent.guestDetails",
  "agent.createContainer",
  "agent.startContainer",
  "agent.removeContainer",
  "agent.waitProcess",
  "agent.signalProcess",
  "agent.readStdout",
  "agent.readStderr",
  "agent.writeStdin",
  "agent.closeStdin",
  "agent.execProcess",
  "agent.resizeTty",
  "agent.listProcesses",
  "agent.pauseContainer",
  "agent.resumeContainer",
  "agent.updateContainer",
  "agent.statsContainer",
  "agent.onlineCpuMem",
  "agent.syncResources",
  "agent.findDisk",
  "agent.releaseDisk",
  "agent.listInterfaces",
  "agent.updateInterface",
  "agent.addInterface",
  "agent.removeInterface",
  "agent.listRoutes",
  "agent.updateRoutes",
  "agent.addArpNeighbors",
  "agent.check",
  "agent.reseedRandom",
  "agent.setTime",
  "agent.nextOom",
  "agent.probeMemory",
  "agent.startTracing",
  "agent.stopTracing",
  "agent.copyFile",
  "agent.warmUp",
  "agent.prepareToBeSaved",
  "agent.renew",
  "agent.statFile",
  "agent.listDirectory",
  "agent.readFile",
  "agent.writeFile",
  "agent.discardFile",
  "agent.makeDirectory",
  "agent.makeLink",
  "agent.setAttributes",
  "agent.removeFile",
  "agent.renameFile",
  "agent.watchDirectory",
  "agent.nextFileEvents",
  "agent.unwatchDirectory",
] as const;

export type FakeOperation = (typeof FAKE_OPERATIONS)[number];

/** What an operation is about. */
export interface FakeSubject {
  readonly sandbox?: string;
  readonly container?: string;
}

/** One entry of the log of calls. */
export interface FakeCall extends FakeSubject {
  readonly operation: FakeOperation;
  readonly outcome: "pending" | "done" | "failed";
}
