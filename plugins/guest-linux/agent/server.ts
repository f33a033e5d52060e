import type { Duplex } from "node:stream";
import { Server, ServerCredentials } from "@grpc/grpc-js";
import type { Agent } from "./agent.ts";
import { watchDelivery } from "./delivery.ts";
import { filesService } from "./files/service.ts";
import { check } from "./rpc/check.ts";
import { version } from "./rpc/version.ts";
import { agentService, guestService } from "./service.ts";
import { unary } from "./unary.ts";
import { serviceDefinition } from "./wire/service.ts";

const MAX_MESSAGE_BYTES = 4 * 1024 * 1024;

/** Serves `grpc.AgentService`, `grpc.Health`, `tapvisor.Guest` and `tapvisor.Files` on every byte pipe that is handed in: each is one HTTP/2 connection. */
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
  return { serve: (connection) => injector.injectConnection(connection) };
}
