import type { ServiceDefinition } from "@grpc/grpc-js";
import { decode } from "./decode.ts";
import { encode } from "./encode.ts";
import { messageType, methodsOf } from "./schema.ts";

/**
 * A service of the protocol for a grpc-js server, like `agentServiceDefinition` of tapvisor/protocol and compatible with it on the wire.
 * It has a codec of its own because proto-loader and protobufjs take a second to load under emulation, a sixth of the guest's cold start.
 */
export function serviceDefinition(service: string): ServiceDefinition {
  return Object.fromEntries(
    Object.entries(methodsOf(service)).map(([name, { request, response }]) => [
      name,
      {
        path: `/${service}/${name}`,
        requestStream: false,
        responseStream: false,
        ...codec("request", request),
        ...codec("response", response),
      },
    ]),
  ) as unknown as ServiceDefinition;
}

function codec(side: "request" | "response", name: string) {
  return {
    [`${side}Serialize`]: (message: Readonly<Record<string, unknown>>) => encode(messageType(name), message),
    [`${side}Deserialize`]: (bytes: Buffer) => decode(messageType(name), bytes),
  };
}
