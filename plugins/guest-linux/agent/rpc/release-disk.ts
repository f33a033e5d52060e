import type { DiskRequest, Empty } from "tapvisor/protocol";
import type { Agent } from "../agent.ts";
import { isSameDisk, parseDisk } from "../disk/disk.ts";
import { releaseDisk as release } from "../disk/release-disk.ts";
import { StatusError } from "../status.ts";

export async function releaseDisk(agent: Agent, { driver, address }: DiskRequest): Promise<Empty> {
  const disk = parseDisk(driver, address);
  const user = [...agent.containers.values()].find(({ disks }) => disks.some((each) => isSameDisk(each, disk)));
  if (user) throw new StatusError("FAILED_PRECONDITION", `Cannot release the ${driver} disk ${address}: the container ${user.id} has it`);
  await release(agent, disk);
  return {};
}
