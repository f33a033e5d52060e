import { rm } from "node:fs/promises";
import { createServer, type Socket } from "node:net";
import { type Duplex, pipeline } from "node:stream";
import pino from "pino";
import type { AgentEndpoint, Call } from "tapvisor/plugin";
import type { HostOptions } from "../../../protocol/yamux/support/serial-port.ts";

/** A unix socket that behaves as QEMU's chardev in front of a serial port: one client at a time, the next one waits. */
export async function fakeChardev(path: string, serial: { connect(options?: HostOptions): Duplex }) {
  const waiting: Socket[] = [];
  const limits: HostOptions[] = [];
  let current: Socket | undefined;
  const next = () => {
    current = waiting.shift();
    if (!current) return;
    const socket = current;
    pipeline(socket, serial.connect(limits.shift()), socket, () => {
      socket.destroy();
      next();
    });
  };
  const server = createServer((socket) => {
    socket.on("error", () => {});
    waiting.push(socket);
    if (!current) next();
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  const endpoint: AgentEndpoint = { kind: "serial", path };
  return {
    endpoint,
    /** What the next connections have to bear, in order. */
    limits,
    [Symbol.asyncDispose]: async () => {
      server.close();
      for (const socket of [current, ...waiting]) socket?.destroy();
      await rm(path, { force: true });
    },
  };
}

/** A call that says nothing and gives up after 20 s, so that a test that hangs says where. */
export const silentCall = (signal: AbortSignal = AbortSignal.timeout(20_000)): Call => ({ signal, log: pino({ level: "silent" }) });
