import type { Duplex } from "node:stream";
import { type DataStreamRequest, encodeAnswer } from "tapvisor/protocol";
import { type Agent, findContainer } from "../agent.ts";
import type { GuestProcess } from "../process/guest-process.ts";
import { statusOf } from "../status.ts";
import { serveInput } from "./serve-input.ts";
import { serveOutput } from "./serve-output.ts";

/** Serves one standard stream of a process until either side ends it. Never rejects. */
export async function serveDataStream(agent: Agent, request: DataStreamRequest, connection: Duplex): Promise<void> {
  const gone = new AbortController();
  connection.once("close", () => gone.abort(new Error("the stream has ended")));
  if (connection.destroyed) return;
  let process: GuestProcess;
  try {
    process = findContainer(agent, request.container).process(request.exec || request.container);
  } catch (error) {
    const { status, details } = statusOf(error);
    connection.resume();
    connection.end(encodeAnswer({ status, text: details }));
    return;
  }
  connection.write(encodeAnswer({ ok: true }));
  try {
    if (request.stream === "stdin") await serveInput(process.pipes.stdin, connection, gone.signal);
    else await serveOutput(process, process.pipes[request.stream], connection, gone.signal);
  } catch {
    connection.destroy(); // the other side is gone, or breaks the protocol
  }
}
