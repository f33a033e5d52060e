import { type Duplex, PassThrough } from "node:stream";
import { TapvisorError } from "tapvisor/plugin";
import type { Link } from "../../../../plugins/agent-grpc/link.ts";
import type { Agent } from "../../../../plugins/guest-linux/agent/agent.ts";
import { serveDataStream } from "../../../../plugins/guest-linux/agent/data-stream/serve.ts";
import { sortConnection } from "../../../../plugins/guest-linux/agent/data-stream/sort.ts";
import { InputStream } from "../../../../plugins/guest-linux/agent/process/input-stream.ts";
import { OutputStream } from "../../../../plugins/guest-linux/agent/process/output-stream.ts";
import { StatusError } from "../../../../plugins/guest-linux/agent/status.ts";
import {
  AnswerScanner,
  acceptSessions,
  announcement,
  newNonce,
  type YamuxSession,
  yamuxOver,
} from "../../../../src/protocol/yamux/index.ts";
import { type HostOptions, serialPort } from "../../../protocol/yamux/support/serial-port.ts";
import { readableSource } from "../../guest-linux/agent/support/readable-source.ts";

/** One process `c` of container `c` behind a simulated port: the agent's side of data streams, without gRPC and without a process. */
export function streamWorld({ decided = Promise.resolve(), outputMark = 16 * 1024 } = {}) {
  const written = new PassThrough({ highWaterMark: outputMark });
  const input = new PassThrough({ highWaterMark: 64 * 1024 });
  const pipes = {
    stdin: new InputStream(input),
    stdout: new OutputStream(readableSource(written)),
    stderr: new OutputStream(readableSource(new PassThrough())),
  };
  const process = { decided, pipes };
  const find = (id: string) => {
    if (id !== "c") throw new StatusError("NOT_FOUND", `There is no process ${id}`);
    return process;
  };
  const agent = { containers: new Map([["c", { process: find }]]) } as unknown as Agent;
  const toGrpc: Duplex[] = [];
  const serve = (connection: Duplex) =>
    sortConnection(connection, {
      keep: (each) => void each.destroy(),
      renewal: async (_, each: Duplex) => void each.destroy(),
      grpc: (each) => void toGrpc.push(each),
      data: (request, each) => serveDataStream(agent, request, each),
    });
  const serial = serialPort();
  const accepting = acceptSessions(serial.port, (session) => {
    session.onStream = serve;
  });
  return {
    /** What the process writes. */
    written,
    /** What the process reads. */
    input,
    pipes,
    serial,
    serve,
    toGrpc,
    /** A host that connects; fails when the connection is cut before the guest has answered. */
    connect: (options?: HostOptions) => hostSession(serial.connect(options)),
    async [Symbol.asyncDispose]() {
      serial.close();
      await accepting.catch(() => {}); // what the guest still had to write has no port any more
    },
  };
}

async function hostSession(port: Duplex): Promise<YamuxSession> {
  const nonce = newNonce();
  const scanner = new AnswerScanner(nonce);
  port.write(announcement(nonce));
  const behind = await new Promise<Buffer>((resolve, reject) => {
    const onData = (chunk: Buffer) => {
      const rest = scanner.push(chunk);
      if (!rest) return;
      port.off("data", onData).off("close", onClose);
      port.pause();
      resolve(rest);
    };
    const onClose = () => reject(new Error("cut before the answer"));
    port.on("data", onData).on("close", onClose);
  });
  const session = yamuxOver(port, { role: "client" });
  if (behind.length > 0) session.receive(behind);
  return session;
}

/** As much of a link as a data stream needs. */
export function linkOver(session: Pick<YamuxSession, "openStream">): Link {
  let over: TapvisorError<"AGENT_LOST"> | undefined;
  return {
    sandbox: "box",
    over: () => over,
    lose: () => {
      over ??= new TapvisorError("AGENT_LOST", "Lost the agent", { data: { id: "box" } });
    },
    onOver: () => () => {},
    openStream: async ({ windowBytes }: { windowBytes?: number } = {}) => session.openStream(windowBytes),
  } as unknown as Link;
}
