import { type AgentClient, type Call, type GuestProcessId, type GuestStorage, type OciSpec, TapvisorError } from "tapvisor/plugin";
import {
  ociToWire,
  resourcesToWire,
  agentServiceDefinition as rpc,
  type StorageMessage,
  type VersionCheckResponse,
} from "tapvisor/protocol";
import { bytesTaken, exitCode, guestDetails, streamBytes } from "./answers.ts";
import { dataStreams } from "./data-stream/client.ts";
import { deviceMessages, withDevices } from "./devices.ts";
import type { Failure } from "./errors.ts";
import { fileCalls } from "./file-calls.ts";
import { asker, guestCalls } from "./guest-calls.ts";
import { identityCalls } from "./identity/client.ts";
import { isEndOfStream, isNotFound, isProcessGone, isStdinClosed } from "./kata-quirks.ts";
import { MAX_STREAM_BYTES, REMOVE_TIMEOUT_SECONDS } from "./limits.ts";
import type { Link } from "./link.ts";
import { networkCalls } from "./network-calls.ts";
import { processCalls } from "./process-calls.ts";
import { idOf, nameOf } from "./process-id.ts";
import { sender } from "./sender.ts";
import { containerStats } from "./stats.ts";
import { systemCalls } from "./system-calls.ts";
import { Terminals } from "./terminals.ts";

const EMPTY = {};
const NO_BYTES = new Uint8Array(0);

/** The agent's verbs over a link: each is one call. */
export function createClient(link: Link, version: VersionCheckResponse | undefined): AgentClient {
  const send = sender(link);
  const ask = asker(send);
  const terminals = new Terminals();
  const commands = new Map<string, string>(); // of the containers created here, so that an error can name the command

  async function read(name: "ReadStdout" | "ReadStderr", process: GuestProcessId, maxBytes: number, call: Call): Promise<Uint8Array> {
    const len = Math.min(maxBytes, MAX_STREAM_BYTES);
    const subject = nameOf(process);
    const answerFor = (failure: Failure) => (isEndOfStream(failure) ? { data: NO_BYTES } : undefined);
    const { data } = await send(name, rpc[name], { ...idOf(process), len }, call, { subject, answerFor });
    return streamBytes(data, len, subject);
  }

  const client: AgentClient = {
    createSandbox: async ({ hostname, sandbox, storages, dns = [], guestHookPath = "", kernelModules = [] }, call) => {
      const request = {
        hostname,
        dns,
        storages: storages.map(storageMessage),
        sandbox_pidns: false,
        sandbox_id: sandbox,
        guest_hook_path: guestHookPath,
        kernel_modules: kernelModules.map(({ name, parameters = [] }) => ({ name, parameters })),
      };
      await send("CreateSandbox", rpc.CreateSandbox, request, call);
    },
    destroySandbox: async (call) => {
      await send("DestroySandbox", rpc.DestroySandbox, EMPTY, call);
    },
    guestDetails: async (call) => {
      const request = { mem_block_size: true, mem_hotplug_probe: false };
      return guestDetails(await send("GetGuestDetails", rpc.GetGuestDetails, request, call), version);
    },
    createContainer: async ({ container, storages, devices = [], spec }, call) => {
      const command = spec.process.args[0] ?? "";
      const request = {
        container_id: container,
        exec_id: container,
        devices: deviceMessages(devices),
        storages: storages.map(storageMessage),
        OCI: ociToWire(withDevices(withoutPidNamespace(spec), devices)),
        sandbox_pidns: false,
      };
      await send("CreateContainer", rpc.CreateContainer, request, call, { subject: `container "${container}"`, command });
      commands.set(container, command);
      if (spec.process.terminal) terminals.add({ container, exec: container });
    },
    startContainer: async (container, call) => {
      const command = commands.get(container) ?? "";
      await send("StartContainer", rpc.StartContainer, { container_id: container }, call, { subject: `container "${container}"`, command });
    },
    removeContainer: async (container, call) => {
      const request = { container_id: container, timeout: REMOVE_TIMEOUT_SECONDS };
      await send("RemoveContainer", rpc.RemoveContainer, request, call, {
        subject: `container "${container}"`,
        answerFor: (failure) => (isNotFound(failure) ? EMPTY : undefined),
      });
      commands.delete(container);
      terminals.forget(container);
    },
    pauseContainer: async (container, call) => {
      await send("PauseContainer", rpc.PauseContainer, { container_id: container }, call, { subject: `container "${container}"` });
    },
    resumeContainer: async (container, call) => {
      await send("ResumeContainer", rpc.ResumeContainer, { container_id: container }, call, { subject: `container "${container}"` });
    },
    updateContainer: async (container, resources, call) => {
      const subject = `container "${container}"`;
      if (resources.devices) throw noDeviceRules(subject);
      const request = { container_id: container, resources: resourcesToWire(resources, "resources") };
      await send("UpdateContainer", rpc.UpdateContainer, request, call, { subject });
    },
    statsContainer: async (container, call) => {
      const subject = `container "${container}"`;
      return containerStats(await send("StatsContainer", rpc.StatsContainer, { container_id: container }, call, { subject }), subject);
    },
    onlineCpuMem: async ({ vcpus, cpuOnly }, call) => {
      await send("OnlineCPUMem", rpc.OnlineCPUMem, { wait: true, nb_cpus: vcpus, cpu_only: cpuOnly }, call);
    },
    ...guestCalls(ask),
    ...processCalls(send, ask, terminals),
    ...networkCalls(send),
    ...systemCalls(send),
    files: fileCalls(send),
    ...dataStreams(link, version),
    ...identityCalls(link, send, version, () => client),
    waitProcess: async (process, call) => {
      const subject = nameOf(process);
      return exitCode((await send("WaitProcess", rpc.WaitProcess, idOf(process), call, { subject })).status, subject);
    },
    signalProcess: async (process, signal, all, call) => {
      const request = { container_id: process.container, exec_id: all ? "" : process.exec, signal };
      await send("SignalProcess", rpc.SignalProcess, request, call, {
        subject: nameOf(process),
        answerFor: (failure) => (isProcessGone(failure) ? EMPTY : undefined),
      });
    },
    readStdout: (process, maxBytes, call) => read("ReadStdout", process, maxBytes, call),
    readStderr: async (process, maxBytes, call) => (terminals.has(process) ? NO_BYTES : read("ReadStderr", process, maxBytes, call)),
    writeStdin: async (process, data, call) => {
      if (data.length === 0) return 0;
      const subject = nameOf(process);
      const part = data.subarray(0, MAX_STREAM_BYTES);
      const answerFor = (failure: Failure) => (isStdinClosed(failure) ? { len: 0 } : undefined);
      const { len } = await send("WriteStdin", rpc.WriteStdin, { ...idOf(process), data: part }, call, { subject, answerFor });
      return bytesTaken(len, part.length, subject);
    },
    closeStdin: async (process, call) => {
      await send("CloseStdin", rpc.CloseStdin, idOf(process), call, {
        subject: nameOf(process),
        answerFor: (failure) => (isNotFound(failure) ? EMPTY : undefined),
      });
    },
    lost: link.lost,
    close: link.close,
  };
  return client;
}

function storageMessage({ driver, source, fstype, options, mountPoint }: GuestStorage): StorageMessage {
  return { driver, driver_options: [], source, fstype, options, mount_point: mountPoint };
}

/** An agent does not look at them, and would say that it has set them. */
function noDeviceRules(subject: string): TapvisorError {
  return new TapvisorError("UNSUPPORTED", `Cannot change the device rules of ${subject}: they are those of its creation`, {
    data: { what: "a change of device rules", by: "agent-grpc" },
  });
}

/** In this protocol every container gets a PID namespace of its own without being asked, and an agent refuses a configuration that has one. */
function withoutPidNamespace(spec: OciSpec): OciSpec {
  const namespaces = spec.linux.namespaces.filter(({ type, path }) => type !== "pid" || path !== undefined);
  return { ...spec, linux: { ...spec.linux, namespaces } };
}
