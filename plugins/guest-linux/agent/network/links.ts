import { readdir, readFile, readlink } from "node:fs/promises";
import { join } from "node:path";
import { checkPrefixed, familyOf, type GuestAddress, type GuestInterface } from "tapvisor/plugin";
import { IFF_NOARP } from "tapvisor/protocol";
import type { Agent } from "../agent.ts";
import { StatusError } from "../status.ts";

const IFF_UP = 1;

/** An interface of the guest. */
export interface Link extends GuestInterface {
  readonly up: boolean;
  readonly noArp: boolean;
  /** Whether it configures itself by what routers announce, `1` or `2`, or not; empty without IPv6. */
  readonly acceptRa: string;
  /** It is a card, which only its unplugging takes away. */
  readonly isCard: boolean;
}

/** All interfaces, from /sys, with the addresses that `ip` shows: the kernel tells those by netlink only, which Node has not. */
export async function linksOf(agent: Agent): Promise<readonly Link[]> {
  const shown = await agent.busybox(["ip", "-o", "addr"]);
  const links = await Promise.all((await readdir(directory(agent))).map((name) => linkOf(agent, name, addressesIn(shown, name))));
  return links.filter((link) => link !== undefined).sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** @throws NOT_FOUND. */
export async function linkWith(agent: Agent, mac: string): Promise<Link> {
  const found = (await linksOf(agent)).find((link) => link.mac === mac);
  if (found) return found;
  throw new StatusError("NOT_FOUND", `There is no interface with the MAC ${mac}`);
}

/** Whether a card with this MAC is there, without starting a process. */
export async function hasLink(agent: Agent, mac: string): Promise<boolean> {
  const names = await readdir(directory(agent));
  const macs = await Promise.all(names.map((name) => textOf(join(directory(agent), name, "address"))));
  return macs.includes(mac);
}

/** The kernel's switch for that. */
export function acceptRaOf({ paths }: Agent, name: string): string {
  return join(paths.proc, "sys/net/ipv6/conf", name, "accept_ra");
}

/** What is gone by the time it is looked at is not there. */
async function linkOf(agent: Agent, name: string, addresses: readonly GuestAddress[]): Promise<Link | undefined> {
  const at = join(directory(agent), name);
  const [mac, mtu, flagText, device, acceptRa] = await Promise.all([
    textOf(join(at, "address")),
    textOf(join(at, "mtu")),
    textOf(join(at, "flags")),
    readlink(join(at, "device")).catch(() => undefined),
    textOf(acceptRaOf(agent, name)),
  ]);
  const flags = Number(flagText);
  if (mtu === "") return undefined;
  const [up, noArp] = [(flags & IFF_UP) !== 0, (flags & IFF_NOARP) !== 0];
  return { name, mac, mtu: Number(mtu), addresses, up, noArp, acceptRa, isCard: device !== undefined };
}

/** `2: eth0    inet 10.0.2.15/24 brd 10.0.2.255 scope global eth0\ …`. What is of the link alone the kernel gives and takes itself. */
function addressesIn(shown: string, name: string): readonly GuestAddress[] {
  return shown.split("\n").flatMap((line) => {
    const [, device, address = "", scope] = /^\d+: (\S+)\s+inet6? ([\da-fA-F.:]+\/\d+) .*?scope (\S+)/.exec(line) ?? [];
    const family = familyOf(address);
    if (device !== name || family === undefined || (family === "v6" && scope === "link")) return [];
    return [{ family, address: checkPrefixed("address", address) }];
  });
}

function textOf(path: string): Promise<string> {
  return readFile(path, "utf8").then(
    (text) => text.trim(),
    () => "",
  );
}

function directory({ paths }: Agent): string {
  return join(paths.sys, "class/net");
}
