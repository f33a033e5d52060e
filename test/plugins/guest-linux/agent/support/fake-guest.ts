import { once } from "node:events";
import { mkdir, writeFile } from "node:fs/promises";
import { connect as connectHttp2 } from "node:http2";
import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { Client, credentials, type Metadata, type MethodDefinition, type ServiceError, status } from "@grpc/grpc-js";
import { type AgentCalls, agentServiceDefinition, healthServiceDefinition, type WireProcess, type WireSpec } from "tapvisor/protocol";
import { type Agent, createAgent } from "../../../../../plugins/guest-linux/agent/agent.ts";
import type { GuestPaths } from "../../../../../plugins/guest-linux/agent/guest-paths.ts";
import { createAgentServer } from "../../../../../plugins/guest-linux/agent/server.ts";
import { tempDirectory } from "../../../../support/temp.ts";
import { writeFakeCrun } from "./fake-crun.ts";

/** The agent in this process, in a directory instead of a guest, behind a real HTTP/2 connection. */
export interface FakeGuest extends AsyncDisposable {
  readonly agent: Agent;
  readonly paths: GuestPaths;
  readonly logged: readonly string[];
  /** Calls with the definitions of the protocol, not those of the agent. */
  call<Name extends keyof AgentCalls>(
    name: Name,
    request: Partial<AgentCalls[Name][0]>,
    options?: CallOptions,
  ): Promise<AgentCalls[Name][1]>;
  raw<Request, Response>(method: MethodDefinition<Request, Response>, request: unknown, options?: CallOptions): Promise<Response>;
  /** The directory that containers are given as their rootfs. */
  readonly rootfs: string;
  spec(args: readonly string[], more?: Partial<WireSpec>): WireSpec;
  /** Makes a call whose answer begins to come, and breaks the connection before the rest of it. */
  stall<Name extends keyof AgentCalls>(name: Name, request: Partial<AgentCalls[Name][0]>): Promise<void>;
  /** A second connection, as a host makes that comes back. */
  reconnect(): Promise<void>;
}

interface CallOptions {
  readonly signal?: AbortSignal;
  readonly timeoutMs?: number;
}

export const { Check, Version } = healthServiceDefinition;

/** The end of a stream is an error on the wire, as with Kata; a test reads until there are no bytes. */
function noBytesAtTheEnd(error: Partial<ServiceError>): never {
  if (error.code === status.UNKNOWN && error.details === "EOF") return { data: Buffer.alloc(0) } as never;
  throw error;
}

export async function fakeGuest(): Promise<FakeGuest> {
  const directory = await tempDirectory();
  const at = (name: string) => join(directory.path, name);
  const paths: GuestPaths = {
    own: at("own"),
    open: [at("kata"), at("tapvisor")],
    cgroups: at("cgroups"),
    sys: at("sys"),
    dev: at("dev"),
    crun: at("crun"),
    perl: "/usr/bin/perl",
    busybox: "/usr/bin/env", // runs mkfifo and sh of the host in busybox's place
    hostnameFile: at("hostname"),
    machineId: at("machine-id"),
    image: at("image"),
    offeredImage: at("tapvisor/image"),
    resolvConf: at("kata/sandbox/resolv.conf"),
    mounts: at("mounts"),
    proc: at("proc"),
    modules: at("modules.json"),
  };
  const rootfs = at("tapvisor/c/rootfs");
  await mkdir(rootfs, { recursive: true });
  await mkdir(at("cgroups"));
  await writeFile(paths.mounts, "");
  await writeFakeCrun(paths.crun, paths.cgroups);
  const logged: string[] = [];
  const log = { warn: (message: string) => void logged.push(message), error: (message: string) => void logged.push(message) };
  const agent = createAgent(paths, log);
  const server = createAgentServer(agent);
  const sockets = new Set<Socket>();
  const listener = createServer((socket) => {
    sockets.add(socket);
    server.serve(socket);
  });
  const socketPath = at("s");
  await new Promise<void>((resolve) => listener.listen(socketPath, resolve));
  const dial = () => new Client(`unix:${socketPath}`, credentials.createInsecure(), { "grpc.use_local_subchannel_pool": 1 });
  let client = dial();

  const raw: FakeGuest["raw"] = (method, request, { signal, timeoutMs = 20_000 } = {}) =>
    new Promise((resolve, reject) => {
      const running = client.makeUnaryRequest(
        method.path,
        method.requestSerialize,
        method.responseDeserialize,
        request as never,
        { deadline: Date.now() + timeoutMs },
        (error, response) => (error ? reject(error) : resolve(response as never)),
      );
      signal?.addEventListener("abort", () => running.cancel(), { once: true });
    });

  const drop = () => {
    client.close();
    for (const socket of sockets) socket.destroy();
    sockets.clear();
  };
  return {
    agent,
    paths,
    logged,
    rootfs,
    raw,
    call: (name, request, options) => raw(agentServiceDefinition[name] as never, request, options).catch(noBytesAtTheEnd) as never,
    spec: (args, more) => ({
      Version: "1.1.0",
      Process: processOf(args),
      Root: { Path: rootfs, Readonly: false },
      Hostname: "",
      Mounts: [],
      Annotations: {},
      Linux: {
        Resources: null,
        CgroupsPath: "",
        Namespaces: [{ Type: "mount", Path: "" }],
        MaskedPaths: [],
        ReadonlyPaths: [],
        Devices: [],
        Sysctl: {},
        Seccomp: null,
      },
      ...more,
    }),
    async stall(name, request) {
      const { path, requestSerialize } = agentServiceDefinition[name] as MethodDefinition<object, object>;
      // A window of its own size for each stream: the server can send 1 KiB of the answer, and waits with the rest.
      const session = connectHttp2("http://guest", { createConnection: () => connect(socketPath), settings: { initialWindowSize: 1024 } });
      const stream = session.request({ ":method": "POST", ":path": path, "content-type": "application/grpc", te: "trailers" });
      const message = requestSerialize(request);
      const prefix = Buffer.alloc(5);
      prefix.writeUInt32BE(message.length, 1);
      stream.on("error", () => {});
      stream.end(Buffer.concat([prefix, message]));
      await once(stream, "readable");
      session.destroy();
      await once(session, "close");
    },
    async reconnect() {
      drop();
      client = dial();
    },
    async [Symbol.asyncDispose]() {
      const { destroySandbox } = await import("../../../../../plugins/guest-linux/agent/rpc/destroy-sandbox.ts");
      await destroySandbox(agent);
      drop();
      await new Promise((resolve) => listener.close(resolve));
      await directory[Symbol.asyncDispose]();
    },
  };
}

export function processOf(args: readonly string[]): WireProcess {
  return {
    Terminal: false,
    ConsoleSize: null,
    User: null,
    Args: args,
    Env: [`PATH=${process.env.PATH ?? "/usr/bin:/bin"}`],
    Cwd: "/",
    Capabilities: null,
    Rlimits: [],
    NoNewPrivileges: true,
    OOMScoreAdj: "0",
  };
}

/** The failure of a call: its status and, when there is one, the exit code in its trailing metadata. */
export async function refusal(call: Promise<unknown>): Promise<{ status: number; text: string; metadata: Metadata }> {
  try {
    await call;
  } catch (error) {
    const { code, details, metadata } = error as ServiceError;
    return { status: code, text: details, metadata };
  }
  throw new Error("the call succeeded, wanted a refusal");
}
