import { readdirSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { AnnouncementScanner, answer, YamuxSession } from "tapvisor/protocol";
import { connectSerial } from "../../plugins/transport-serial/connect.ts";
import type { AgentTarget } from "../../src/contracts/agent.ts";
import { tempDirectory } from "../support/temp.ts";
import { ACK, H2, h2Frame, honest } from "./wire.ts";

/** What a script may write, and on which layer. All of it waits while the host takes nothing. */
export interface Wire {
  /** The call's stream in HTTP/2. */
  readonly id: number;
  /** The stream of yamux that carries it, which the client numbers as it likes. */
  readonly stream: number;
  /** Bytes of HTTP/2, inside of the yamux stream. */
  h2(...frames: Buffer[]): Promise<void>;
  /** Bytes of yamux itself, between frames. */
  mux(...frames: Buffer[]): Promise<void>;
  hangUp(): void;
  /** The host has let go of the connection. */
  gone(): boolean;
}

export interface ScriptedGuest extends AsyncDisposable {
  readonly target: AgentTarget;
  /** Bytes sent to the host. */
  sent(): number;
  /** What stands in the run directory now. */
  files(): string[];
  /** The next connection breaks when so many bytes have been sent. */
  breakAfter(bytes: number): void;
}

/**
 * A guest behind a serial port's socket: it answers the announcement, and Check and Version, as an honest agent does; every later call is the script's.
 * HTTP/2 is written by hand, since no server would send what a hostile guest sends.
 */
export async function scriptedGuest(onCall: (wire: Wire) => void | Promise<void>): Promise<ScriptedGuest> {
  const directory = await tempDirectory();
  const path = join(directory.path, "port");
  const sockets = new Set<Socket>();
  let sent = 0;
  let limit = Number.POSITIVE_INFINITY;
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    let left = limit;
    limit = Number.POSITIVE_INFINITY;
    const write = async (bytes: Buffer) => {
      const part = bytes.subarray(0, left);
      left -= part.length;
      sent += part.length;
      if (!socket.destroyed && part.length > 0 && !socket.write(part)) await once(socket, "drain");
      if (left === 0) socket.end();
    };
    serve(socket, write, onCall);
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return {
    target: {
      sandbox: "web",
      endpoint: { kind: "serial", path },
      transport: { endpoints: ["serial"], connect: connectSerial },
      runDirectory: directory.path,
    },
    sent: () => sent,
    files: () => readdirSync(directory.path).filter((name) => name !== "port"),
    breakAfter: (bytes) => {
      limit = bytes;
    },
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await directory[Symbol.asyncDispose]();
    },
  };
}

/** Of an event, or of the end of whoever has it. */
function once(stream: Duplex, event: string): Promise<void> {
  return new Promise((resolve) => {
    const settle = () => {
      stream.off(event, settle).off("close", settle);
      resolve();
    };
    stream.on(event, settle).on("close", settle);
  });
}

function serve(socket: Socket, write: (bytes: Buffer) => Promise<void>, onCall: (wire: Wire) => void | Promise<void>): void {
  let session: YamuxSession | undefined;
  const scanner = new AnnouncementScanner({
    pass: (bytes) => session?.receive(bytes),
    marked: () => true,
    announced: (nonce) => {
      void write(answer(nonce));
      session = new YamuxSession({
        role: "server",
        output: { write: (frames) => write(Buffer.concat(frames)), close: () => {} },
      });
      session.onStream = (stream) =>
        serveHttp2(stream, { mux: (...frames) => write(Buffer.concat(frames)), hangUp: () => socket.destroy() }, onCall);
    },
  });
  socket.on("data", (chunk: Buffer) => scanner.push(chunk));
  socket.on("close", () => session?.end());
}

function serveHttp2(stream: Duplex, below: Pick<Wire, "mux" | "hangUp">, onCall: (wire: Wire) => void | Promise<void>): void {
  const h2 = async (...frames: Buffer[]) => {
    if (!stream.destroyed && !stream.write(Buffer.concat(frames))) await once(stream, "drain");
  };
  let bytes = Buffer.alloc(0);
  let preface = 24;
  void h2(h2Frame(H2.settings, 0, 0));
  stream.on("error", () => {});
  stream.on("data", (chunk: Buffer) => {
    bytes = Buffer.concat([bytes, chunk]);
    if (preface > 0 && bytes.length < preface) return;
    bytes = bytes.subarray(preface);
    preface = 0;
    while (bytes.length >= 9 && bytes.length >= 9 + bytes.readUIntBE(0, 3)) {
      const [type, flags, id] = [bytes.readUInt8(3), bytes.readUInt8(4), bytes.readUInt32BE(5)];
      bytes = bytes.subarray(9 + bytes.readUIntBE(0, 3));
      if (type === H2.settings && (flags & ACK) === 0) void h2(h2Frame(H2.settings, ACK, 0));
      if (type !== H2.headers) continue;
      if (id <= 3) void h2(honest(id, Buffer.from([8, 1])));
      else void onCall({ ...below, id, stream: (stream as Duplex & { readonly id: number }).id, h2, gone: () => stream.destroyed });
    }
  });
}
