import { type AgentClient, type Call, type GuestProcessId, MiB, TapvisorError } from "tapvisor/plugin";
import type { Connection } from "./connection.ts";
import { fakeFiles, noFiles } from "./files.ts";
import { fakeIdentity } from "./identity.ts";
import { machineCalls } from "./machine-calls.ts";

const READS = { ReadStdout: ["agent.readStdout", "stdout"], ReadStderr: ["agent.readStderr", "stderr"] } as const;

/** The agent's verbs, answered by the guest in the same world. */
export function fakeClient(connection: Connection, { extras }: { readonly extras: boolean }): AgentClient {
  const { guest } = connection.vm;
  const read = (method: keyof typeof READS, process: GuestProcessId, maxBytes: number, call: Call) => {
    const [operation, stream] = READS[method];
    return connection.call(operation, process.container, call, async (signal) => {
      const found = guest.process(method, process);
      // A terminal has one stream: everything comes out of stdout, and stderr is at its end.
      if (stream === "stderr" && found.stderr === found.stdout) return new Uint8Array(0);
      return found[stream].read(maxBytes, signal);
    });
  };

  return {
    createSandbox: (request, call) => connection.call("agent.createSandbox", undefined, call, () => guest.createSandbox(request)),
    destroySandbox: (call) => connection.call("agent.destroySandbox", undefined, call, () => guest.destroySandbox()),
    guestDetails: (call) =>
      connection.call("agent.guestDetails", undefined, call, () => ({
        memoryBlockBytes: 128 * MiB,
        agentVersion: "fake",
        storageHandlers: ["virtio-fs", "blk", "scsi", "overlayfs", "ephemeral", "local"],
        supportsSeccomp: extras,
        ociExtensions: extras,
      })),
    createContainer: (request, call) =>
      connection.call("agent.createContainer", request.container, call, () => guest.createContainer(request)),
    startContainer: (container, call) => connection.call("agent.startContainer", container, call, () => guest.startContainer(container)),
    removeContainer: (container, call) => connection.call("agent.removeContainer", container, call, () => guest.removeContainer(container)),
    waitProcess: (process, call) =>
      connection.call("agent.waitProcess", process.container, call, (signal) => guest.waitProcess(process, signal)),
    signalProcess: (process, signal, all, call) =>
      connection.call("agent.signalProcess", process.container, call, () => guest.signalProcess(process, signal, all)),
    readStdout: (process, maxBytes, call) => read("ReadStdout", process, maxBytes, call),
    readStderr: (process, maxBytes, call) => read("ReadStderr", process, maxBytes, call),
    writeStdin: (process, data, call) =>
      connection.call("agent.writeStdin", process.container, call, async (signal) => {
        if (data.length === 0) return 0;
        const taken = await guest.process("WriteStdin", process).input(data, signal);
        if (taken > 0) return taken;
        throw new TapvisorError("AGENT_FAILED", `Cannot write to container "${process.container}": its standard input is closed`, {
          data: { method: "WriteStdin", status: "FAILED_PRECONDITION" },
        });
      }),
    closeStdin: (process, call) => connection.call("agent.closeStdin", process.container, call, () => guest.closeStdin(process)),
    execProcess: (process, spec, call) =>
      connection.call("agent.execProcess", process.container, call, () => guest.execProcess(process, spec)),
    resizeTty: (process, size, call) => connection.call("agent.resizeTty", process.container, call, () => guest.resizeTty(process, size)),
    listProcesses: (container, call) => connection.call("agent.listProcesses", container, call, () => guest.listProcesses(container)),
    pauseContainer: (container, call) => connection.call("agent.pauseContainer", container, call, () => guest.pauseContainer(container)),
    resumeContainer: (container, call) => connection.call("agent.resumeContainer", container, call, () => guest.resumeContainer(container)),
    updateContainer: (container, resources, call) =>
      connection.call("agent.updateContainer", container, call, () => guest.updateContainer(container, resources)),
    statsContainer: (container, call) => connection.call("agent.statsContainer", container, call, () => guest.statsContainer(container)),
    onlineCpuMem: ({ vcpus }, call) => connection.call("agent.onlineCpuMem", undefined, call, () => guest.vcpus.bringOnline(vcpus)),
    syncResources: ({ vcpus }, call) =>
      connection.call("agent.syncResources", undefined, call, () => {
        if (!extras) return undefined;
        if (vcpus !== undefined) guest.vcpus.runOn(vcpus);
        return guest.resources();
      }),
    findDisk: (disk, call) => connection.call("agent.findDisk", undefined, call, () => (extras ? guest.findDisk(disk) : undefined)),
    releaseDisk: (disk, call) =>
      connection.call("agent.releaseDisk", undefined, call, () => {
        if (extras) guest.releaseDisk(disk);
      }),
    ...machineCalls(connection),
    ...(extras && { identity: fakeIdentity(connection) }),
    files: extras ? fakeFiles(connection) : noFiles(),
    lost: connection.lost,
    close: async () => connection.close(),
  };
}
