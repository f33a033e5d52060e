import type { Empty, SignalProcessRequest } from "tapvisor/protocol";
import { type Agent, findContainer } from "../agent.ts";
import { killCgroup, signalCgroup } from "../container/cgroup.ts";
import { StatusError } from "../status.ts";
import type { RpcContext } from "../unary.ts";

const SIGKILL = 9;
const LAST_SIGNAL = 64;

/** Signals one process, or with an empty `exec_id` all of the container. One that has ended needs no signal. */
export async function signalProcess(
  agent: Agent,
  { container_id, exec_id, signal }: SignalProcessRequest,
  context: RpcContext,
): Promise<Empty> {
  const container = findContainer(agent, container_id);
  if (signal < 1 || signal > LAST_SIGNAL)
    throw new StatusError("INVALID_ARGUMENT", `Cannot send signal ${signal}: wanted 1 to ${LAST_SIGNAL}`);
  const process = container.process(exec_id === "" ? container_id : exec_id);
  // What a start still brings up must not outlive the signal that ends it.
  if (signal === SIGKILL && process === container.init && process.state === "starting")
    await container.turns.run(async () => {}, context.signal);
  if (process.state === "created" || process.state === "starting") {
    throw new StatusError("FAILED_PRECONDITION", `Cannot send signal ${signal}: the process is ${process.state}, wanted running`);
  }
  const { cgroup } = container.files;
  // The end of the container's first process is the end of all, so a SIGKILL for it may go through the cgroup: no pid, no race.
  if (signal === SIGKILL && process === container.init) await killCgroup(cgroup);
  else if (exec_id === "") await signalCgroup(cgroup, signal);
  else await process.signal(signal);
  return {};
}
