import type { Duplex } from "node:stream";
import { YamuxStream } from "tapvisor/protocol";
import type { Agent } from "../agent.ts";

/** Has the port kept by the process that waits to renew the guest, with the next bytes of this stream. It answers them, and whatever comes then. */
export function serveKeep(agent: Agent, connection: Duplex): void {
  const { port, renewer } = agent;
  const keeps = port !== undefined && renewer !== undefined && !renewer.ended && connection instanceof YamuxStream;
  connection.resume();
  if (!keeps) {
    connection.end(`${JSON.stringify({ ok: true })}\n`);
    return;
  }
  port.handOver(async () => {
    agent.renewer = undefined;
    return renewer.keep(connection.id);
  });
  connection.write(`${JSON.stringify({ ok: true, keeps })}\n`);
}
