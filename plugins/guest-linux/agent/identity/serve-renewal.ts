import type { Duplex } from "node:stream";
import { encodeAnswer, encodeRenewed, MAX_LINE_BYTES, parseClock, type Renewal, splitLine } from "tapvisor/protocol";
import type { Agent } from "../agent.ts";
import { StatusError, statusOf } from "../status.ts";
import { renew } from "./renew.ts";
import type { Renewer } from "./renewer.ts";

/** Answers one renewal, and as often as the client wishes sets the clock once more. `received` is when its first line came. Never rejects. */
export async function serveRenewal(agent: Agent, request: Renewal, received: bigint, connection: Duplex): Promise<void> {
  const gone = new AbortController();
  connection.once("close", () => gone.abort(new Error("the stream has ended")));
  let renewer: Renewer | undefined;
  try {
    const lines = linesOf(connection);
    renewer = await renew(agent, request, received, gone.signal);
    answer(connection, received);
    for await (const { text, received } of lines) {
      const clock = parseClock(text);
      if (clock === undefined) throw new StatusError("INVALID_ARGUMENT", "Cannot set the clock: wanted nanoseconds since 1970");
      await renewer.set(undefined, clock, received, gone.signal);
      answer(connection, received);
    }
    connection.end();
  } catch (error) {
    const { status, details } = statusOf(error);
    connection.resume();
    connection.end(encodeAnswer({ status, text: details }));
  } finally {
    renewer?.end();
    if (renewer && agent.renewer === renewer) agent.renewer = undefined;
  }
}

function answer(connection: Duplex, received: bigint): void {
  connection.write(encodeRenewed({ heldNs: Number(process.hrtime.bigint() - received) }));
}

/** The lines that follow, one at a time: the client sends the next one when it has the answer to the last. */
async function* linesOf(connection: Duplex): AsyncGenerator<{ readonly text: string; readonly received: bigint }> {
  let seen: Buffer = Buffer.alloc(0);
  for await (const chunk of connection as AsyncIterable<Buffer>) {
    const received = process.hrtime.bigint();
    seen = Buffer.concat([seen, chunk]);
    for (let line = splitLine(seen); line; line = splitLine(seen)) {
      seen = line.rest;
      yield { text: line.text, received };
    }
    if (seen.length >= MAX_LINE_BYTES) throw new StatusError("INVALID_ARGUMENT", `Cannot take a line of more than ${MAX_LINE_BYTES} bytes`);
  }
}
