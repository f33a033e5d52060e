import { isIP, SocketAddress } from "node:net";
import { TapvisorError } from "./errors.ts";

/** The smallest MTU of IPv4, and the largest of a card, bytes. */
export const MTU = { least: 68, most: 65_535 } as const;

const NAME = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}$/;
const MAC = /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i;
/** Of any kind of link, a tunnel's say; empty for none. */
const HARDWARE_ADDRESS = /^([0-9a-f]{2}(:[0-9a-f]{2}){0,31})?$/i;

/** @throws INVALID_INPUT unless `name` can be an interface's: the kernel takes 15 bytes, and tools take it for a word of its own. */
export function checkInterfaceName(path: string, name: string): string {
  return NAME.test(name) ? name : refuse(path, name, 'an interface name of at most 15 letters, digits, "_", "." or "-"');
}

/** In small letters. @throws INVALID_INPUT. */
export function checkMac(path: string, mac: string): string {
  return MAC.test(mac) ? mac.toLowerCase() : refuse(path, mac, "a MAC such as 02:00:00:00:00:01");
}

/** In small letters, of any length up to 32 bytes or empty, as there are in a list of all interfaces. @throws INVALID_INPUT. */
export function checkHardwareAddress(path: string, address: string): string {
  return HARDWARE_ADDRESS.test(address) ? address.toLowerCase() : refuse(path, address, "a hardware address or nothing");
}

/** @throws INVALID_INPUT. */
export function checkMtu(path: string, mtu: number): number {
  const holds = Number.isInteger(mtu) && mtu >= MTU.least && mtu <= MTU.most;
  return holds ? mtu : refuse(path, mtu, `${MTU.least} to ${MTU.most} bytes`);
}

/** In the form in which the kernel shows it. @throws INVALID_INPUT. */
export function checkIp(path: string, address: string, family: "v4" | "v6" | undefined = familyOf(address)): string {
  if (family === undefined || familyOf(address) !== family || address.includes("/"))
    return refuse(path, address, `an IP${family ?? ""} address`);
  return new SocketAddress({ address, family: family === "v4" ? "ipv4" : "ipv6" }).address;
}

/** `10.0.2.0/24`, in the form in which the kernel shows it. @throws INVALID_INPUT. */
export function checkPrefixed(path: string, address: string, family?: "v4" | "v6"): string {
  const [ip = "", length = "", ...more] = address.split("/");
  const found = family ?? familyOf(ip);
  const most = found === "v4" ? 32 : 128;
  if (found === undefined || familyOf(ip) !== found || more.length > 0 || !/^\d{1,3}$/.test(length) || Number(length) > most) {
    return refuse(path, address, `an IP${family ?? ""} address with the length of its prefix, such as 10.0.2.15/24`);
  }
  return `${checkIp(path, ip, found)}/${Number(length)}`;
}

/** The family of an address, with a prefix or without one. */
export function familyOf(address: string): "v4" | "v6" | undefined {
  const [ip = ""] = address.split("/");
  if (ip.includes("%")) return undefined; // an interface in an address is not one of the network
  const version = isIP(ip);
  return version === 4 ? "v4" : version === 6 ? "v6" : undefined;
}

function refuse(path: string, value: unknown, wanted: string): never {
  throw new TapvisorError("INVALID_INPUT", `Cannot use ${path} ${JSON.stringify(value)}: wanted ${wanted}`, {
    data: { path, value, wanted },
  });
}
