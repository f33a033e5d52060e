import type { MethodDefinition } from "@grpc/grpc-js";
import { type AgentClient, type Call, isAgentStatus, TapvisorError } from "tapvisor/plugin";
import { guestServiceDefinition as rpc } from "tapvisor/protocol";
import { foundDisk, guestResources } from "./answers.ts";
import type { Send } from "./sender.ts";

/** Makes a call of `tapvisor.Guest`: `undefined` where the guest has none. */
export type Ask = <Request, Response>(
  name: keyof typeof rpc & Parameters<Send>[0],
  method: MethodDefinition<Request, Response>,
  request: Request,
  call: Call,
  options?: { readonly subject: string },
) => Promise<Response | undefined>;

/** A guest without the service, a Kata guest say, answers UNIMPLEMENTED; it is asked once a connection. */
export function asker(send: Send): Ask {
  let isServed = true;
  return async (name, method, request, call, options) => {
    if (!isServed) return undefined;
    try {
      return await send(name, method, request, call, options);
    } catch (error) {
      if (!isAgentStatus(error, "UNIMPLEMENTED")) throw error;
      isServed = false;
      return undefined;
    }
  };
}

/** The calls of `tapvisor.Guest` that Kata's service has no word for. */
export function guestCalls(ask: Ask): Pick<AgentClient, "syncResources" | "findDisk" | "releaseDisk"> {
  return {
    syncResources: async ({ vcpus }, call) => {
      if (vcpus === 0) throw noVcpus();
      const answer = await ask("SyncResources", rpc.SyncResources, { vcpus: vcpus ?? 0 }, call);
      return answer && guestResources(answer);
    },
    findDisk: async ({ driver, address }, call) => {
      const subject = `disk "${address}"`;
      const answer = await ask("FindDisk", rpc.FindDisk, { driver, address }, call, { subject });
      return answer && foundDisk(answer, subject);
    },
    releaseDisk: async ({ driver, address }, call) => {
      await ask("ReleaseDisk", rpc.ReleaseDisk, { driver, address }, call, { subject: `disk "${address}"` });
    },
  };
}

/** On the wire 0 leaves the vCPUs as they are. */
function noVcpus(): TapvisorError {
  return new TapvisorError("AGENT_FAILED", "Cannot have the guest run on 0 vCPUs: wanted 1 or more", {
    data: { method: "SyncResources", status: "INVALID_ARGUMENT" },
  });
}
