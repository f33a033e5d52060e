import type { Duplex } from "node:stream";
import { Server, ServerCredentials } from "@grpc/grpc-js";
import type { DataStreamRequest, Renewal } from "tapvisor/protocol";
import type { Agent } from "./agent.ts";
import { sortConnection } from "./data-stream/sort.ts";
import { watchDelivery } from "./delivery.ts";
import { filesService } from "./files/service.ts";
import { serveKeep } from "./identity/serve-keep.ts";
import { check } from "./rpc/check.ts";
import { version } from "./rpc/version.ts";
import { agentService, guestService } from "./service.ts";
import { unary } from "./unary.ts";
import { serviceDefinition } from "./wire/service.ts";

const MAX_MESSAGE_BYTES = 4 * 1024 * 1024;

/**
 * Serves what is handed in by its first bytes: a data stream of one process, a renewal, or else one HTTP/2 connection with `grpc.AgentService`, `grpc.Health`,
 * `tapvisor.Guest` and `tapvisor.Files`.
 */
export function createAgentServer(agent: Agent): { serve(connection: Duplex): void } {
  const delivery = watchDelivery();
  const server = new Server({
    interceptors: [delivery.interceptor],
    "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
    "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
    "grpc.enable_channelz": 0, // statistics that nothing reads
  });
  const tools = { delivery, log: agent.log };
  server.addService(serviceDefinition("grpc.Health"), { Check: unary(check, tools), Version: unary(version, tools) });
  server.addService(serviceDefinition("grpc.AgentService"), agentService(agent, delivery));
  server.addService(serviceDefinition("tapvisor.Guest"), guestService(agent, delivery));
  server.addService(serviceDefinition("tapvisor.Files"), filesService(agent, delivery));
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
  const kinds = {
    grpc: (connection: Duplex) => injector.injectConnection(connection),
    data: async (request: DataStreamRequest, connection: Duplex) =>
      (await import("./data-stream/serve.ts")).serveDataStream(agent, request, connection),
    keep: (connection: Duplex) => serveKeep(agent, connection),
    renewal: async (request: Renewal, connection: Duplex) => {
      const received = process.hrtime.bigint();
      return (await import("./identity/serve-renewal.ts")).serveRenewal(agent, request, received, connection);
    },
  };
  return { serve: (connection) => sortConnection(connection, kinds) };
}
