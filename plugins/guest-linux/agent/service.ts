import type { UntypedServiceImplementation } from "@grpc/grpc-js";
import type { AgentCalls, GuestCalls } from "tapvisor/protocol";
import type { Agent } from "./agent.ts";
import type { DeliveryWatch } from "./delivery.ts";
import { type Handler, type RpcContext, unary } from "./unary.ts";

export type Served<All extends { readonly [Name in keyof All]: readonly [unknown, unknown] }> = {
  readonly [Name in keyof All]: Handler<All[Name][0], All[Name][1]>;
};

/**
 * `grpc.AgentService`, so far as it is served; grpc-js answers the rest with UNIMPLEMENTED. A call's code is loaded with its first use, so that the agent
 * is ready to answer Check before it has read it.
 */
export function agentService(agent: Agent, delivery: DeliveryWatch): UntypedServiceImplementation {
  const with_ = loader(agent);
  const read = (stream: "stdout" | "stderr"): Served<AgentCalls>["ReadStdout"] => {
    return async (request, context) => (await import("./rpc/read-stream.ts")).readStream(stream, agent, request, context);
  };
  const served: Served<AgentCalls> = {
    CreateSandbox: with_(async () => (await import("./rpc/create-sandbox.ts")).createSandbox),
    DestroySandbox: with_(async () => (await import("./rpc/destroy-sandbox.ts")).destroySandbox),
    GetGuestDetails: with_(async () => (await import("./rpc/get-guest-details.ts")).getGuestDetails),
    OnlineCPUMem: with_(async () => (await import("./rpc/online-cpu-mem.ts")).onlineCpuMem),
    CreateContainer: with_(async () => (await import("./rpc/create-container.ts")).createContainer),
    StartContainer: with_(async () => (await import("./rpc/start-container.ts")).startContainer),
    RemoveContainer: with_(async () => (await import("./rpc/remove-container.ts")).removeContainer),
    UpdateContainer: with_(async () => (await import("./rpc/update-container.ts")).updateContainer),
    StatsContainer: with_(async () => (await import("./rpc/stats-container.ts")).statsContainer),
    PauseContainer: with_(async () => (await import("./rpc/pause-container.ts")).pauseContainer),
    ResumeContainer: with_(async () => (await import("./rpc/resume-container.ts")).resumeContainer),
    ExecProcess: with_(async () => (await import("./rpc/exec-process.ts")).execProcess),
    SignalProcess: with_(async () => (await import("./rpc/signal-process.ts")).signalProcess),
    WaitProcess: with_(async () => (await import("./rpc/wait-process.ts")).waitProcess),
    WriteStdin: with_(async () => (await import("./rpc/write-stdin.ts")).writeStdin),
    ReadStdout: read("stdout"),
    ReadStderr: read("stderr"),
    CloseStdin: with_(async () => (await import("./rpc/close-stdin.ts")).closeStdin),
    ListInterfaces: with_(async () => (await import("./rpc/list-interfaces.ts")).listInterfaces),
    UpdateInterface: with_(async () => (await import("./rpc/update-interface.ts")).updateInterface),
    AddInterface: with_(async () => (await import("./rpc/update-interface.ts")).addInterface),
    RemoveInterface: with_(async () => (await import("./rpc/remove-interface.ts")).removeInterface),
    ListRoutes: with_(async () => (await import("./rpc/list-routes.ts")).listRoutes),
    UpdateRoutes: with_(async () => (await import("./rpc/update-routes.ts")).updateRoutes),
    AddARPNeighbors: with_(async () => (await import("./rpc/add-arp-neighbors.ts")).addArpNeighbors),
    ReseedRandomDev: with_(async () => (await import("./rpc/reseed-random-dev.ts")).reseedRandomDev),
    SetGuestDateTime: with_(async () => (await import("./rpc/set-guest-date-time.ts")).setGuestDateTime),
    MemHotplugByProbe: with_(async () => (await import("./rpc/mem-hotplug-by-probe.ts")).memHotplugByProbe),
    CopyFile: with_(async () => (await import("./rpc/copy-file.ts")).copyFile),
    GetOOMEvent: with_(async () => (await import("./rpc/get-oom-event.ts")).getOomEvent),
    StartTracing: with_(async () => (await import("./rpc/tracing.ts")).startTracing),
    StopTracing: with_(async () => (await import("./rpc/tracing.ts")).stopTracing),
    TtyWinResize: with_(async () => (await import("./rpc/tty-win-resize.ts")).ttyWinResize),
    ListProcesses: with_(async () => (await import("./rpc/list-processes.ts")).listProcesses),
  };
  return implementation(served, agent, delivery);
}

/** `tapvisor.Guest`: what Kata's protocol has no call for. */
export function guestService(agent: Agent, delivery: DeliveryWatch): UntypedServiceImplementation {
  const with_ = loader(agent);
  const served: Served<GuestCalls> = {
    SyncResources: with_(async () => (await import("./rpc/sync-resources.ts")).syncResources),
    FindDisk: with_(async () => (await import("./rpc/find-disk.ts")).findDisk),
    ReleaseDisk: with_(async () => (await import("./rpc/release-disk.ts")).releaseDisk),
    DescribeProcesses: with_(async () => (await import("./rpc/describe-processes.ts")).describeProcesses),
    OfferImage: with_(async () => (await import("./rpc/offer-image.ts")).offerImage),
    WithdrawImage: with_(async () => (await import("./rpc/withdraw-image.ts")).withdrawImage),
    PrepareToBeSaved: with_(async () => (await import("./rpc/prepare-to-be-saved.ts")).prepareToBeSaved),
  };
  return implementation(served, agent, delivery);
}

export function loader(agent: Agent) {
  return <Request, Response>(load: () => Promise<(agent: Agent, request: Request, context: RpcContext) => Promise<Response>>) => {
    return async (request: Request, context: RpcContext) => (await load())(agent, request, context);
  };
}

export function implementation(served: object, agent: Agent, delivery: DeliveryWatch): UntypedServiceImplementation {
  const tools = { delivery, log: agent.log };
  return Object.fromEntries(Object.entries(served).map(([name, handler]) => [name, unary(handler as Handler<unknown, unknown>, tools)]));
}
