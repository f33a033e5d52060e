import type { WriteStreamRequest, WriteStreamResponse } from "tapvisor/protocol";
import { type Agent, findContainer } from "../agent.ts";
import type { RpcContext } from "../unary.ts";

export async function writeStdin(agent: Agent, request: WriteStreamRequest, { signal }: RpcContext): Promise<WriteStreamResponse> {
  const process = findContainer(agent, request.container_id).process(request.exec_id || request.container_id);
  return { len: await process.pipes.stdin.write(request.data, signal) };
}
