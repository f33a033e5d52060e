import type { Bytes, VmSize } from "tapvisor/plugin";
import type { Machine } from "./machine.ts";
import { isPlugged, queryVcpus } from "./resize-vcpus.ts";

/** What the VM has, parked vCPUs and what is about to leave included. */
export async function querySize(machine: Machine, signal: AbortSignal): Promise<VmSize> {
  const [vcpus, memory] = await Promise.all([queryVcpus(machine, signal), machine.execute("query-memory-size-summary", {}, { signal })]);
  const { "base-memory": base, "plugged-memory": plugged = 0 } = memory as { "base-memory": number; "plugged-memory"?: number };
  return { vcpus: vcpus.filter(isPlugged).length, memoryBytes: (base + plugged) as Bytes };
}
