import type { UntypedServiceImplementation } from "@grpc/grpc-js";
import type { AgentCalls } from "tapvisor/protocol";
import type { Agent } from "./agent.ts";
import type { DeliveryWatch } from "./delivery.ts";
import type { ExecProcessRequest } from "./rpc/exec-process.ts";
import { type Handler, type RpcContext, unary } from "./unary.ts";

type Calls = AgentCalls & { readonly ExecProcess: [ExecProcessRequest, Record<string, never>] };
type Served = { readonly [Name in keyof Calls]: Handler<Calls[Name][0], Calls[Name][1]> };

/**
 * `grpc.AgentService`, so far as it is served; grpc-js answers the rest with UNIMPLEMENTED. A call's code is loaded with its first use, so that the agent
 * is ready to answer Check before it has read it.
 */
export function agentService(agent: Agent, delivery: DeliveryWatch): UntypedServiceImplementation {
  const with_ = <Request, Response>(load: () => Promise<(agent: Agent, request: Request, context: RpcContext) => Promise<Response>>) => {
    return async (request: Request, context: RpcContext) => (await load())(agent, request, context);
  };
  const read = (stream: "stdout" | "stderr"): Served["ReadStdout"] => {
    return async (request, context) => (await import("./rpc/read-stream.ts")).readStream(stream, agent, request, context);
  };
  const served: Served = {
    CreateSandbox: with_(async () => (await import("./rpc/create-sandbox.ts")).createSandbox),
    DestroySandbox: with_(async () => (await import("./rpc/destroy-sandbox.ts")).destroySandbox),
    GetGuestDetails: with_(async () => (await import("./rpc/get-guest-details.ts")).getGuestDetails),
    CreateContainer: with_(async () => (await import("./rpc/create-container.ts")).createContainer),
    StartContainer: with_(async () => (await import("./rpc/start-container.ts")).startContainer),
    RemoveContainer: with_(async () => (await import("./rpc/remove-container.ts")).removeContainer),
    ExecProcess: with_(async () => (await import("./rpc/exec-process.ts")).execProcess),
    SignalProcess: with_(async () => (await import("./rpc/signal-process.ts")).signalProcess),
    WaitProcess: with_(async () => (await import("./rpc/wait-process.ts")).waitProcess),
    WriteStdin: with_(async () => (await import("./rpc/write-stdin.ts")).writeStdin),
    ReadStdout: read("stdout"),
    ReadStderr: read("stderr"),
    CloseStdin: with_(async () => (await import("./rpc/close-stdin.ts")).closeStdin),
  };
  const tools = { delivery, log: agent.log };
  return Object.fromEntries(Object.entries(served).map(([name, handler]) => [name, unary(handler as Handler<unknown, unknown>, tools)]));
}
