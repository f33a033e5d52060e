import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { type GuestNeighbor, messageOf } from "tapvisor/plugin";
import type { Agent } from "../agent.ts";
import { StatusError } from "../status.ts";
import { netTool } from "./ip.ts";

/** The kernel's flag of an entry that stays, ATF_PERM. */
const PERMANENT = 0x4;

/**
 * Adds neighbours that stay: all of them, or none.
 * @throws UNIMPLEMENTED for IPv6, for which busybox has no command; and as netTool.
 */
export async function addNeighbors(agent: Agent, wanted: readonly GuestNeighbor[], signal: AbortSignal): Promise<void> {
  const other = wanted.find(({ family }) => family !== "v4");
  if (other) throw new StatusError("UNIMPLEMENTED", `Cannot add the neighbour ${other.address}: this guest has a table for IPv4 only`);
  const before = await permanentOf(agent);
  const done: GuestNeighbor[] = [];
  try {
    for (const neighbor of wanted) {
      signal.throwIfAborted();
      done.unshift(neighbor);
      await netTool(agent, add(neighbor), signal);
    }
  } catch (error) {
    for (const { address, device } of done) {
      const mac = before.get(`${address} ${device}`);
      const undo = mac === undefined ? ["arp", "-i", device, "-d", address] : add({ address, device, mac });
      await agent.busybox(undo).catch((left: unknown) => agent.log.error(messageOf(left))); // that which failed was never made
    }
    throw error;
  }
}

function add({ address, device, mac }: Pick<GuestNeighbor, "address" | "device" | "mac">): readonly string[] {
  return ["arp", "-i", device, "-s", address, mac];
}

/** MACs by address and device: `10.0.2.3  0x1  0x6  52:55:0a:00:02:03  *  eth0`. */
async function permanentOf({ paths }: Agent): Promise<ReadonlyMap<string, string>> {
  const lines = (await readFile(join(paths.proc, "net/arp"), "utf8").catch(() => "")).split("\n").slice(1);
  return new Map(
    lines.flatMap((line) => {
      const [address, , flags, mac, , device] = line.trim().split(/\s+/);
      return mac !== undefined && device !== undefined && (Number(flags) & PERMANENT) !== 0 ? [[`${address} ${device}`, mac]] : [];
    }),
  );
}
