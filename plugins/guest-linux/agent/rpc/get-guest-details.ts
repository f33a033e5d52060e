import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { GuestDetailsRequest, GuestDetailsResponse } from "tapvisor/protocol";
import type { Agent } from "../agent.ts";
import { DISK_DRIVERS } from "../disk/disk.ts";
import { STORAGE_DRIVERS } from "../storage/plan.ts";
import { AGENT_VERSION } from "../version.ts";
import { canProbe } from "./mem-hotplug-by-probe.ts";

/** What the guest can do. The memory block is the unit in which memory can be plugged in; 0 when the kernel has none. */
export async function getGuestDetails(agent: Agent, request: GuestDetailsRequest): Promise<GuestDetailsResponse> {
  const { paths } = agent;
  const [block, status] = await Promise.all([
    request.mem_block_size ? textOf(join(paths.sys, "devices/system/memory/block_size_bytes")) : "",
    textOf("/proc/self/status"),
  ]);
  return {
    mem_block_size_bytes: String(Number.parseInt(block, 16) || 0), // the kernel writes it in hexadecimal
    agent_details: {
      version: AGENT_VERSION,
      init_daemon: false,
      device_handlers: DISK_DRIVERS,
      storage_handlers: STORAGE_DRIVERS,
      supports_seccomp: status.includes("\nSeccomp:"),
    },
    support_mem_hotplug_probe: request.mem_hotplug_probe && (await canProbe(agent)),
  };
}

function textOf(path: string): Promise<string> {
  return readFile(path, "utf8").catch(() => "");
}
