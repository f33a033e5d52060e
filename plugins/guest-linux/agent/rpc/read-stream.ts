import type { ReadStreamRequest, ReadStreamResponse } from "tapvisor/protocol";
import { type Agent, findContainer } from "../agent.ts";
import { OUTPUT_BUFFER_BYTES } from "../process/output-stream.ts";
import { StatusError } from "../status.ts";
import type { RpcContext } from "../unary.ts";
import { until } from "../until.ts";

/**
 * Waits for bytes of the stream. What does not get through is for the next read.
 * @throws UNKNOWN, EOF at the end of the stream, as a Kata agent: its clients would go on reading after an answer without bytes.
 */
export async function readStream(
  stream: "stdout" | "stderr",
  agent: Agent,
  request: ReadStreamRequest,
  context: RpcContext,
): Promise<ReadStreamResponse> {
  if (request.len === 0) throw new StatusError("INVALID_ARGUMENT", "Cannot read 0 bytes: wanted a len of 1 or more");
  const process = findContainer(agent, request.container_id).process(request.exec_id || request.container_id);
  await until(process.decided, context.signal);
  const output = process.pipes[stream];
  const chunk = await output.read(Math.min(request.len, OUTPUT_BUFFER_BYTES), context.signal);
  if (chunk.data.length === 0) throw new StatusError("UNKNOWN", "EOF");
  context.onUndelivered(() => output.giveBack(chunk));
  return { data: chunk.data };
}
