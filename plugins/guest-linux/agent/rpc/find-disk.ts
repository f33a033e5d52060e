import type { DiskRequest, FindDiskResponse } from "tapvisor/protocol";
import type { Agent } from "../agent.ts";
import { awaitDisk } from "../disk/await-disk.ts";
import { parseDisk } from "../disk/disk.ts";
import type { RpcContext } from "../unary.ts";

export async function findDisk(agent: Agent, { driver, address }: DiskRequest, { signal }: RpcContext): Promise<FindDiskResponse> {
  const { node, bytes } = await awaitDisk(agent, parseDisk(driver, address), signal);
  return { node, bytes: String(bytes) };
}
