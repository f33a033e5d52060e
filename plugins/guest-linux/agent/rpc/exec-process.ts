import type { Empty, ExecProcessRequest } from "tapvisor/protocol";
import { type Agent, findContainer } from "../agent.ts";
import { startExec } from "../container/start-process.ts";
import type { RpcContext } from "../unary.ts";

export async function execProcess(agent: Agent, request: ExecProcessRequest, { signal }: RpcContext): Promise<Empty> {
  await startExec(agent, findContainer(agent, request.container_id), request.exec_id, request.process, signal);
  return {};
}
