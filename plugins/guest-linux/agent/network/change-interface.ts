import { readFile, writeFile } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { type GuestInterface, messageOf } from "tapvisor/plugin";
import type { Agent } from "../agent.ts";
import { StatusError } from "../status.ts";
import { netTool } from "./ip.ts";
import { acceptRaOf, hasLink, type Link, linkWith } from "./links.ts";
import { restoreRoutes, routesOf } from "./routes.ts";

/** How long a card that was plugged in may take to be there, ms, and how often is looked: only netlink announces one, which Node has not. */
const APPEAR_MS = 5000;
const LOOK_EVERY_MS = 10;

/** What an interface is to be. */
export type Wanted = GuestInterface & Pick<Link, "noArp">;

/**
 * Gives the interface with this MAC its name, MTU and exactly these addresses, and brings it up; or leaves it and the routes as they were.
 * @throws NOT_FOUND when there is none, and as netTool.
 */
export async function changeInterface(agent: Agent, wanted: Wanted, signal: AbortSignal): Promise<Link> {
  const before = await linkWith(agent, wanted.mac);
  const routes = await routesOf(agent);
  try {
    // Otherwise any router on the network could add addresses and routes to those that are asked for.
    await shape(agent, before, { ...wanted, up: true, acceptRa: "0" }, signal);
    signal.throwIfAborted();
  } catch (error) {
    await restore(agent, before, error);
    await restoreRoutes(agent, routes).catch((left: unknown) => Promise.reject(notRestored(error, left)));
    throw error;
  }
  return linkWith(agent, wanted.mac);
}

/**
 * Takes the interface down and its addresses away; one that is no card is removed.
 * @throws NOT_FOUND.
 */
export async function removeInterface(agent: Agent, mac: string, signal: AbortSignal): Promise<Link> {
  const before = await linkWith(agent, mac);
  if (before.isCard) {
    const routes = await routesOf(agent);
    try {
      await shape(agent, before, { ...before, addresses: [], up: false }, signal);
    } catch (error) {
      await restore(agent, before, error);
      await restoreRoutes(agent, routes).catch((left: unknown) => Promise.reject(notRestored(error, left)));
      throw error;
    }
  } else await netTool(agent, ["ip", "link", "del", "dev", before.name], signal);
  return { ...before, addresses: [], up: false };
}

/** Waits for a card that has just been plugged in; when it does not come, whoever needs it will say so. */
export async function awaitLink(agent: Agent, mac: string, signal: AbortSignal): Promise<void> {
  const end = performance.now() + APPEAR_MS;
  while (!(await hasLink(agent, mac)) && performance.now() < end) await delay(LOOK_EVERY_MS, undefined, { signal });
}

async function restore(agent: Agent, before: Link, error: unknown): Promise<void> {
  try {
    await shape(agent, await linkWith(agent, before.mac), before);
  } catch (left) {
    throw notRestored(error, left);
  }
}

/** Makes only the changes that are needed. An interface that is up cannot be renamed. */
async function shape(agent: Agent, now: Link, wanted: Wanted & Pick<Link, "up" | "acceptRa">, signal?: AbortSignal): Promise<void> {
  const { name } = wanted;
  const set = (device: string, ...words: readonly string[]) => netTool(agent, ["ip", "link", "set", "dev", device, ...words], signal);
  const lacks = ({ addresses }: GuestInterface, address: string) => !addresses.some((each) => each.address === address);
  let there: Link = now;
  if (now.name !== name) {
    if (now.up) await set(now.name, "down");
    await set(now.name, "name", name);
    there = await linkWith(agent, now.mac); // IPv6 addresses go when an interface goes down
  }
  if (!wanted.up && there.up) await set(name, "down");
  const kept = wanted.up ? there : await linkWith(agent, now.mac);
  for (const { address } of kept.addresses) {
    if (lacks(wanted, address)) await netTool(agent, ["ip", "addr", "del", address, "dev", name], signal);
  }
  if (there.mtu !== wanted.mtu) await set(name, "mtu", String(wanted.mtu));
  // An MTU that is too small for IPv6 takes its switches away, a larger one brings them back.
  const acceptRa = await readFile(acceptRaOf(agent, name), "utf8").catch(() => "");
  if (acceptRa !== "" && wanted.acceptRa !== "" && acceptRa.trim() !== wanted.acceptRa)
    await writeFile(acceptRaOf(agent, name), wanted.acceptRa);
  if (there.noArp !== wanted.noArp) await set(name, "arp", wanted.noArp ? "off" : "on");
  for (const { family, address } of wanted.addresses) {
    // Without a broadcast address the kernel would not answer to one; IPv6 has none.
    const broadcast = family === "v4" && !/\/3[12]$/.test(address) ? ["broadcast", "+"] : [];
    if (lacks(kept, address)) await netTool(agent, ["ip", "addr", "add", address, ...broadcast, "dev", name], signal);
  }
  if (wanted.up && !there.up) await set(name, "up");
}

/** The one case in which the network is not as it was. */
function notRestored(error: unknown, left: unknown): StatusError {
  return new StatusError("INTERNAL", `${messageOf(error)}; and it could not be put back: ${messageOf(left)}`, undefined, { cause: error });
}
