import { readdirSync } from "node:fs";
import { type Duplex, duplexPair } from "node:stream";
import { Server, ServerCredentials, type ServerUnaryCall, type sendUnaryData, type UntypedHandleCall } from "@grpc/grpc-js";
import { connect } from "../../../plugins/agent-grpc/connect.ts";
import type { AgentClient, AgentTarget } from "../../../src/contracts/agent.ts";
import type { Call } from "../../../src/contracts/holding.ts";
import type { TransportConnection } from "../../../src/contracts/transport.ts";
import { agentServiceDefinition, guestServiceDefinition, healthServiceDefinition, OWN_AGENT } from "../../../src/protocol/kata/index.ts";
import { quietCall } from "../../../src/testing/quiet-call.ts";
import { tempDirectory } from "../../support/temp.ts";

/** The host's view of a guest whose far end of each stream is given to `serve`. */
export interface FakeGuest extends AsyncDisposable {
  readonly target: AgentTarget;
  /** How often the connection was closed by the client. */
  closes(): number;
  /** What stands in the run directory now. */
  files(): string[];
  /** Ends the transport, as a dead VM does. */
  die(reason?: Error): void;
  /** The guest's end of the first stream. */
  farEnd(): Duplex;
  /** The host's end of the first stream. */
  nearEnd(): Duplex;
}

export async function fakeGuest(serve: (stream: Duplex) => void, options: { hangOnClose?: boolean } = {}): Promise<FakeGuest> {
  const directory = await tempDirectory();
  const streams: [Duplex, Duplex][] = [];
  let closes = 0;
  let settle: (reason: Error | undefined) => void = () => {};
  const closed = new Promise<Error | undefined>((resolve) => {
    settle = resolve;
  });
  const die = (reason?: Error) => {
    settle(reason);
    for (const stream of streams.flat()) stream.destroy();
  };
  const connection: TransportConnection = {
    closed,
    openStream: async () => {
      const pair = duplexPair() as [Duplex, Duplex];
      for (const stream of pair) stream.on("error", () => {});
      streams.push(pair);
      serve(pair[1]);
      return pair[0];
    },
    close: async () => {
      closes += 1;
      if (options.hangOnClose) await new Promise<never>(() => {});
      die();
    },
  };
  const end = (side: 0 | 1) => {
    const stream = streams[0]?.[side];
    if (!stream) throw new Error("no stream has been opened");
    return stream;
  };
  return {
    target: {
      sandbox: "web",
      endpoint: { kind: "memory", sandbox: "web" },
      transport: { endpoints: ["memory"], connect: async () => connection },
      runDirectory: directory.path,
    },
    closes: () => closes,
    files: () => readdirSync(directory.path),
    die,
    nearEnd: () => end(0),
    farEnd: () => end(1),
    [Symbol.asyncDispose]: async () => {
      die();
      await directory[Symbol.asyncDispose]();
    },
  };
}

export type Handlers = Readonly<Record<string, (call: ServerUnaryCall<never, unknown>, answer: sendUnaryData<unknown>) => void>>;

/** A request that reached the agent. */
export interface Received {
  readonly method: string;
  readonly request: unknown;
}

/** A guest with a grpc-js agent: answers every call with an empty message unless `handlers` says otherwise. `kata`: it serves what Kata's agents serve. */
export async function grpcGuest(
  handlers: Handlers = {},
  options: { hangOnClose?: boolean; kata?: boolean } = {},
): Promise<FakeGuest & { readonly received: Received[]; readonly server: Server }> {
  const received: Received[] = [];
  const server = new Server();
  const version = { grpc_version: "0.0.1", agent_version: options.kata ? "1.12.1" : `${OWN_AGENT}0.1.0` };
  const all: Handlers = {
    Check: (_, answer) => answer(null, { status: "SERVING" }),
    Version: (_, answer) => answer(null, version),
    ...handlers,
  };
  const implementation = (definition: object): Record<string, UntypedHandleCall> =>
    Object.fromEntries(
      Object.keys(definition).map((method) => [
        method,
        ((call: ServerUnaryCall<never, unknown>, answer: sendUnaryData<unknown>) => {
          received.push({ method, request: call.request });
          const handle = all[method];
          if (handle) handle(call, answer);
          else answer(null, {});
        }) as UntypedHandleCall,
      ]),
    );
  server.addService(healthServiceDefinition, implementation(healthServiceDefinition));
  server.addService(agentServiceDefinition, implementation(agentServiceDefinition));
  if (!options.kata) server.addService(guestServiceDefinition, implementation(guestServiceDefinition));
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
  const guest = await fakeGuest((stream) => injector.injectConnection(stream), options);
  return {
    ...guest,
    received,
    server,
    [Symbol.asyncDispose]: async () => {
      server.forceShutdown();
      await guest[Symbol.asyncDispose]();
    },
  };
}

/** A client that is closed with its scope. */
export async function connected(guest: FakeGuest, call: Call = quietCall()): Promise<AgentClient & AsyncDisposable> {
  const client = await connect(guest.target, call);
  return { ...client, [Symbol.asyncDispose]: () => client.close() };
}
