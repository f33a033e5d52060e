import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { type GuestDetailsRequest, type GuestDetailsResponse, OCI_EXTENSIONS } from "tapvisor/protocol";
import type { Agent } from "../agent.ts";
import { DISK_DRIVERS } from "../disk/disk.ts";
import { STORAGE_DRIVERS } from "../storage/plan.ts";
import { AGENT_VERSION } from "../version.ts";
import { canProbe } from "./mem-hotplug-by-probe.ts";

/** What the guest can do. The memory block is the unit in which memory can be plugged in; 0 when the kernel has none. */
export async function getGuestDetails(agent: Agent, request: GuestDetailsRequest): Promise<GuestDetailsResponse> {
  const { paths } = agent;
  const [block, status, seccomp] = await Promise.all([
    request.mem_block_size ? textOf(join(paths.sys, "devices/system/memory/block_size_bytes")) : "",
    textOf("/proc/self/status"),
    isLinkedWithSeccomp(paths.crun),
  ]);
  return {
    mem_block_size_bytes: String(Number.parseInt(block, 16) || 0), // the kernel writes it in hexadecimal
    agent_details: {
      version: AGENT_VERSION,
      init_daemon: false,
      device_handlers: DISK_DRIVERS,
      storage_handlers: STORAGE_DRIVERS,
      supports_seccomp: status.includes("\nSeccomp:") && seccomp,
      extra_features: [OCI_EXTENSIONS],
    },
    support_mem_hotplug_probe: request.mem_hotplug_probe && (await canProbe(agent)),
  };
}

/** Whether the runtime was built with it, from the library's name among those it loads: running it to be told would cost a boot some 50 ms. */
async function isLinkedWithSeccomp(program: string): Promise<boolean> {
  const binary = await readFile(program).catch(() => Buffer.alloc(0));
  return binary.includes("libseccomp.so");
}

function textOf(path: string): Promise<string> {
  return readFile(path, "utf8").catch(() => "");
}
