import type { MethodDefinition, ServiceDefinition } from "@grpc/grpc-js";
import protobuf from "protobufjs/light.js";
import { descriptor } from "./descriptor.ts";
import type { FileCalls } from "./files-types.ts";
import type { AgentCalls, GuestCalls, HealthCalls } from "./types.ts";

type Typed<Calls> = {
  readonly [Name in keyof Calls]: Calls[Name] extends [infer Request, infer Response] ? MethodDefinition<Request, Response> : never;
};

// 64-bit integers as strings: a number would silently round what is above 2^53.
const DECODED = { longs: String, enums: String, defaults: true };

/** `grpc.AgentService` for a grpc-js client or server: all calls of Kata 1.4 and the later 1.x ones. */
export const agentServiceDefinition = service("grpc", "AgentService") as unknown as Typed<AgentCalls> & ServiceDefinition;

/** `grpc.Health` for a grpc-js client or server. */
export const healthServiceDefinition = service("grpc", "Health") as unknown as Typed<HealthCalls> & ServiceDefinition;

/** `tapvisor.Guest`, what our agent serves beyond Kata's protocol. */
export const guestServiceDefinition = service("tapvisor", "Guest") as unknown as Typed<GuestCalls> & ServiceDefinition;

/** `tapvisor.Files`, the files of a container. */
export const filesServiceDefinition = service("tapvisor", "Files") as unknown as Typed<FileCalls> & ServiceDefinition;

let root: protobuf.Root | undefined;

/** Found at the first use: a program that makes no call does not pay for the reading of the descriptor, some 15 ms. */
function messageType(name: string): protobuf.Type {
  root ??= protobuf.Root.fromJSON(descriptor);
  return root.lookupType(name);
}

function service(scope: keyof typeof descriptor.nested, name: string) {
  const { methods } = descriptor.nested[scope].nested[name] as protobuf.IService;
  const fullName = (type: string) => (type.includes(".") ? type : `${scope}.${type}`);
  return Object.fromEntries(
    Object.entries(methods).map(([method, { requestType, responseType }]) => [
      method,
      {
        path: `/${scope}.${name}/${method}`,
        requestStream: false,
        responseStream: false,
        requestSerialize: encoder(fullName(requestType)),
        requestDeserialize: decoder(fullName(requestType)),
        responseSerialize: encoder(fullName(responseType)),
        responseDeserialize: decoder(fullName(responseType)),
      },
    ]),
  );
}

function encoder(name: string): (message: object) => Buffer {
  return (message) => {
    const type = messageType(name);
    const { buffer, byteOffset, length } = type.encode(type.fromObject(message)).finish();
    return Buffer.from(buffer, byteOffset, length);
  };
}

function decoder(name: string): (bytes: Uint8Array) => object {
  return (bytes) => {
    const type = messageType(name);
    return type.toObject(type.decode(bytes), DECODED);
  };
}
