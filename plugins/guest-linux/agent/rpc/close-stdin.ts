import type { Empty, ProcessRequest } from "tapvisor/protocol";
import { type Agent, findContainer } from "../agent.ts";

/** A terminal has no half that could be closed: as in a Kata agent nothing happens, and more can be typed. */
export async function closeStdin(agent: Agent, request: ProcessRequest): Promise<Empty> {
  const process = findContainer(agent, request.container_id).process(request.exec_id || request.container_id);
  if (!process.terminal) process.pipes.stdin.close();
  return {};
}
