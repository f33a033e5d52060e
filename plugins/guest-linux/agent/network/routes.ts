import { BlockList } from "node:net";
import { checkIp, checkPrefixed, familyOf, type GuestRoute, type IpFamily } from "tapvisor/plugin";
import type { Agent } from "../agent.ts";
import { netTool } from "./ip.ts";
import { type Link, linksOf } from "./links.ts";

const SCOPES: Readonly<Record<string, number>> = { global: 0, site: 200, link: 253, host: 254, nowhere: 255 };
const LOOPBACK = "lo";

/** A route of the guest's main tables. */
export interface Route extends GuestRoute {
  readonly family: IpFamily;
  /** What `ip` would be told to have it again. */
  readonly words: readonly string[];
  /** The kernel made it for an address, and takes it with that. */
  readonly isKernels: boolean;
}

/** Those of the main tables of both families; of IPv6 without the multicast ones, which the kernel keeps for itself. */
export async function routesOf(agent: Agent, links?: readonly Link[]): Promise<readonly Route[]> {
  const all = links ?? (await linksOf(agent));
  const read = async (family: IpFamily) =>
    (await agent.busybox(["ip", flag(family), "route"])).split("\n").flatMap((line) => parse(family, line, all));
  return [...(await read("v4")), ...(await read("v6"))];
}

/** Takes away all routes but the kernel's and the loopback's, the last first: a gateway's own route comes before those that need it. */
export async function removeRoutes(agent: Agent, routes: readonly Route[], signal?: AbortSignal): Promise<void> {
  for (const route of [...routes].reverse()) {
    if (isOurs(route)) await netTool(agent, ["ip", flag(route.family), "route", "del", ...route.words], signal);
  }
}

/** Puts back those of `before` that are gone, and takes away what has come since. */
export async function restoreRoutes(agent: Agent, before: readonly Route[]): Promise<void> {
  const there = await routesOf(agent);
  const isIn = (list: readonly Route[], route: Route) => list.some((each) => key(each) === key(route));
  await removeRoutes(
    agent,
    there.filter((route) => !isIn(before, route)),
  );
  for (const route of inOrder(before.filter((each) => isOurs(each) && !isIn(there, each)))) {
    await netTool(agent, ["ip", flag(route.family), "route", "add", ...route.words]);
  }
}

/** Those on the link first: without them a gateway cannot be reached. */
export function inOrder<Each extends GuestRoute>(routes: readonly Each[]): readonly Each[] {
  return [...routes.filter(({ gateway }) => gateway === undefined), ...routes.filter(({ gateway }) => gateway !== undefined)];
}

export function addWords({ destination, gateway, device, source, scope = 0 }: GuestRoute): readonly string[] {
  const family = familyOf(destination) ?? "v4";
  return [
    ...["ip", flag(family), "route", "add", destination.endsWith("/0") ? "default" : destination],
    ...(gateway === undefined ? [] : ["via", gateway]),
    ...["dev", device],
    ...(source === undefined ? [] : ["src", source]),
    ...(scope === 0 || family === "v6" ? [] : ["scope", String(scope)]),
  ];
}

/** Not the kernel's own, nor one of the loopback interface: those stay whatever is asked for. */
function isOurs({ isKernels, device }: Route): boolean {
  return !isKernels && device !== LOOPBACK;
}

function key({ family, words }: Route): string {
  return `${family} ${words.join(" ")}`;
}

/** `default via 10.0.2.2 dev eth0  metric 5`, `10.0.2.0/24 dev eth0 scope link  src 10.0.2.15`; other types have their word first. */
function parse(family: IpFamily, line: string, links: readonly Link[]): readonly Route[] {
  const [first = "", ...rest] = line.trim().split(/\s+/);
  const everywhere = family === "v4" ? "0.0.0.0/0" : "::/0";
  const target = first === "default" ? everywhere : first.includes("/") ? first : `${first}/${family === "v4" ? 32 : 128}`;
  const value = (word: string) => (rest.includes(word) ? rest[rest.indexOf(word) + 1] : undefined);
  const [device, gateway, source, scope, metric] = ["dev", "via", "src", "scope", "metric"].map(value);
  if (familyOf(target) !== family || device === undefined) return [];
  const destination = checkPrefixed("destination", target);
  const route = {
    destination,
    ...(gateway !== undefined && { gateway: checkIp("gateway", gateway) }),
    device,
    ...(source !== undefined && { source: checkIp("source", source) }),
    scope: scope === undefined ? 0 : (SCOPES[scope] ?? Number(scope)),
  };
  const words = [
    first,
    ...(gateway === undefined ? [] : ["via", gateway]),
    ...["dev", device],
    ...(source === undefined ? [] : ["src", source]),
    ...(family === "v4" ? ["scope", scope ?? "global"] : []),
    ...(metric === undefined ? [] : ["metric", metric]),
    ...(rest.includes("onlink") ? ["onlink"] : []),
  ];
  return [{ ...route, family, words, isKernels: gateway === undefined && isConnected(destination, route, links) }];
}

/** Whether it leads to the very network of an address of its device. */
function isConnected(destination: string, { device, source }: GuestRoute, links: readonly Link[]): boolean {
  const family = familyOf(destination) === "v4" ? "ipv4" : "ipv6";
  const [network = "", length] = destination.split("/");
  if (destination === "fe80::/64") return true;
  const subnet = new BlockList();
  subnet.addSubnet(network, Number(length), family);
  const { addresses = [] } = links.find(({ name }) => name === device) ?? {};
  return addresses.some(({ address }) => {
    const [ip = "", own] = address.split("/");
    const isItsOwn = family === "ipv6" || source === ip;
    return own === length && familyOf(ip) === familyOf(network) && isItsOwn && subnet.check(ip, family);
  });
}

function flag(family: IpFamily): string {
  return family === "v4" ? "-4" : "-6";
}
