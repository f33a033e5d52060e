import { open, readFile } from "node:fs/promises";
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

/** The names of the libraries that a program loads stand near its beginning. */
const NAMES_WITHIN_BYTES = 64 * 1024;

/** Whether the runtime was built with it: running it to be told would cost each boot a process. */
async function isLinkedWithSeccomp(program: string): Promise<boolean> {
  const file = await open(program).catch(() => undefined);
  if (!file) return false;
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(NAMES_WITHIN_BYTES), 0, NAMES_WITHIN_BYTES, 0);
    return buffer.subarray(0, bytesRead).includes("libseccomp.so");
  } finally {
    await file.close();
  }
}

function textOf(path: string): Promise<string> {
  return readFile(path, "utf8").catch(() => "");
}
