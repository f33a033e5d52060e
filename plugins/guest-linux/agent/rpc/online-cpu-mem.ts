import { messageOf } from "tapvisor/plugin";
import type { Empty, OnlineCpuMemRequest } from "tapvisor/protocol";
import type { Agent } from "../agent.ts";
import { onlineMemory } from "../cpu/memory.ts";
import { bringOnline } from "../cpu/vcpus.ts";
import type { RpcContext } from "../unary.ts";

/** Without `wait` it goes on after the answer, and a failure is only logged. */
export async function onlineCpuMem(agent: Agent, { wait, nb_cpus, cpu_only }: OnlineCpuMemRequest, context: RpcContext): Promise<Empty> {
  const signal = wait ? context.signal : new AbortController().signal;
  const work = agent.vcpuTurns.run(async () => {
    if (nb_cpus > 0) await bringOnline(agent.paths.sys, nb_cpus, signal);
    if (!cpu_only) await onlineMemory(agent.paths.sys);
  }, signal);
  if (wait) await work;
  else work.catch((error: unknown) => agent.log.error(messageOf(error)));
  return {};
}
