import type { SyncResourcesRequest, SyncResourcesResponse } from "tapvisor/protocol";
import type { Agent } from "../agent.ts";
import { memoryOf } from "../cpu/memory.ts";
import { runOn, vcpusOf } from "../cpu/vcpus.ts";
import type { RpcContext } from "../unary.ts";

export async function syncResources(agent: Agent, { vcpus }: SyncResourcesRequest, { signal }: RpcContext): Promise<SyncResourcesResponse> {
  await agent.modules.memory(); // what is asked about may be memory that only its driver makes the kernel's
  return agent.vcpuTurns.run(async () => {
    if (vcpus > 0) await runOn(agent.paths.sys, vcpus, signal);
    const online = vcpusOf(agent.paths.sys).filter((vcpu) => vcpu.online);
    const { total, available } = await memoryOf(agent.paths.proc);
    return { online_vcpus: online.length, memory_bytes: String(total), available_bytes: String(available) };
  }, signal);
}
