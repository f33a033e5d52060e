import { access, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Empty, MemHotplugByProbeRequest } from "tapvisor/protocol";
import type { Agent } from "../agent.ts";
import { StatusError } from "../status.ts";
import type { RpcContext } from "../unary.ts";

/** Tells the kernel of each block of memory, by its address. @throws FAILED_PRECONDITION for a kernel that finds memory itself, as on x86. */
export async function memHotplugByProbe(agent: Agent, request: MemHotplugByProbeRequest, { signal }: RpcContext): Promise<Empty> {
  const probe = probeFile(agent);
  if (!(await canProbe(agent))) {
    throw new StatusError("FAILED_PRECONDITION", `Cannot probe for memory: this kernel has no ${probe}, it finds memory itself`);
  }
  for (const address of request.memHotplugProbeAddr) {
    signal.throwIfAborted();
    await writeFile(probe, `0x${BigInt(address).toString(16)}`, { flag: "r+" });
  }
  return {};
}

export function canProbe(agent: Agent): Promise<boolean> {
  return access(probeFile(agent)).then(
    () => true,
    () => false,
  );
}

function probeFile({ paths }: Agent): string {
  return join(paths.sys, "devices/system/memory/probe");
}
