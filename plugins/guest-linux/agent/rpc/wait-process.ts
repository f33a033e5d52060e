import type { ProcessRequest, WaitProcessResponse } from "tapvisor/protocol";
import { type Agent, findContainer } from "../agent.ts";
import type { RpcContext } from "../unary.ts";
import { until } from "../until.ts";

/** Answers with the exit code when the process has ended, to each that asks, until the container is removed. */
export async function waitProcess(agent: Agent, request: ProcessRequest, { signal }: RpcContext): Promise<WaitProcessResponse> {
  const process = findContainer(agent, request.container_id).process(request.exec_id || request.container_id);
  return { status: await until(process.ended, signal) };
}
