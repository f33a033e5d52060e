import { TapvisorError } from "../../base/errors.ts";
import {
  checkHardwareAddress,
  checkInterfaceName,
  checkIp,
  checkMac,
  checkMtu,
  checkPrefixed,
  familyOf,
} from "../../base/network-names.ts";
import type { GuestAddress, GuestInterface, GuestNeighbor, GuestRoute } from "../../contracts/agent-network.ts";
import type {
  ArpNeighborMessage,
  InterfaceMessage,
  InterfacesMessage,
  IpAddressMessage,
  RouteMessage,
  RoutesMessage,
} from "./network-types.ts";

/** The most of each that a message may have. */
const MOST = { interfaces: 256, addresses: 64, routes: 1024, neighbors: 1024 } as const;

/** The kernel's word for a neighbour that stays. */
export const NUD_PERMANENT = 0x80;

/** The kernel's flag of an interface that does not ask for its neighbours. */
export const IFF_NOARP = 0x80;

/*
 * Both sides check what they are asked for and what they are told by the same functions. Each throws INVALID_INPUT naming the field by `path` and its
 * value; what they answer is in normal form, small letters and the kernel's spelling of an address.
 */

/** What an interface is to be. @throws INVALID_INPUT. */
export function checkInterface({ name, mac, mtu, addresses }: GuestInterface, path: string): GuestInterface {
  return {
    name: checkInterfaceName(`${path}.name`, name),
    mac: checkMac(`${path}.mac`, mac),
    mtu: checkMtu(`${path}.mtu`, mtu),
    addresses: checkAddresses(addresses, `${path}.addresses`),
  };
}

/** An interface as it is, of whatever kind. @throws INVALID_INPUT. */
function checkListed({ name, mac, mtu, addresses }: GuestInterface, path: string): GuestInterface {
  if (!Number.isSafeInteger(mtu) || mtu < 0) throw refused(`${path}.mtu`, mtu, "a number of bytes");
  return {
    name: checkInterfaceName(`${path}.name`, name),
    mac: checkHardwareAddress(`${path}.mac`, mac),
    mtu,
    addresses: checkAddresses(addresses, `${path}.addresses`),
  };
}

function checkAddresses(addresses: readonly GuestAddress[], path: string): readonly GuestAddress[] {
  const checked = within(addresses, MOST.addresses, path).map(({ family, address }, index) => ({
    family: checkFamily(`${path}[${index}].family`, family),
    address: checkPrefixed(`${path}[${index}].address`, address, family),
  }));
  const twice = checked.findIndex(({ address }, index) => checked.findIndex((other) => other.address === address) < index);
  if (twice >= 0) throw refused(`${path}[${twice}].address`, checked[twice]?.address, "each address once");
  return checked;
}

function checkFamily(path: string, family: GuestAddress["family"]): GuestAddress["family"] {
  if (family === "v4" || family === "v6") return family;
  throw refused(path, family, "v4 or v6");
}

/** @throws INVALID_INPUT. */
export function checkRoutes(routes: readonly GuestRoute[], path: string): readonly GuestRoute[] {
  return within(routes, MOST.routes, path).map((route, index) => checkRoute(route, `${path}[${index}]`));
}

function checkRoute({ destination, gateway, device, source, scope = 0 }: GuestRoute, path: string): GuestRoute {
  const family = familyOf(destination);
  if (!(Number.isInteger(scope) && scope >= 0 && scope <= 255)) throw refused(`${path}.scope`, scope, "0 to 255");
  return {
    destination: checkPrefixed(`${path}.destination`, destination),
    ...(gateway !== undefined && { gateway: checkIp(`${path}.gateway`, gateway, family) }),
    device: checkInterfaceName(`${path}.device`, device),
    ...(source !== undefined && { source: checkIp(`${path}.source`, source, family) }),
    scope,
  };
}

/** @throws INVALID_INPUT. */
export function checkNeighbors(neighbors: readonly GuestNeighbor[], path: string): readonly GuestNeighbor[] {
  return within(neighbors, MOST.neighbors, path).map(({ family, address, device, mac }, index) => ({
    family: checkFamily(`${path}[${index}].family`, family),
    address: checkIp(`${path}[${index}].address`, address, family),
    device: checkInterfaceName(`${path}[${index}].device`, device),
    mac: checkMac(`${path}[${index}].mac`, mac),
  }));
}

/** The message for an interface that has been checked. */
export function interfaceToWire({ name, mac, mtu, addresses }: GuestInterface): InterfaceMessage {
  return {
    device: name,
    name,
    IPAddresses: addresses.map(({ family, address }) => {
      const [ip = "", mask = ""] = address.split("/");
      return { family, address: ip, mask };
    }),
    mtu: String(mtu),
    hwAddr: mac,
    pciAddr: "",
    type: "",
    raw_flags: 0,
  };
}

/** What a message asks for. @throws INVALID_INPUT. */
export function interfaceFromWire(message: InterfaceMessage | null, path: string): GuestInterface {
  if (!message) throw refused(path, message, "an interface");
  return checkInterface(unchecked(message), path);
}

/** What a message tells. @throws INVALID_INPUT. */
export function listedInterface(message: InterfaceMessage, path: string): GuestInterface {
  return checkListed(unchecked(message), path);
}

/** @throws INVALID_INPUT. */
export function interfacesFromWire({ Interfaces }: InterfacesMessage, path: string): readonly GuestInterface[] {
  return within(Interfaces, MOST.interfaces, path).map((each, index) => listedInterface(each, `${path}[${index}]`));
}

function unchecked({ name, hwAddr, mtu, IPAddresses }: InterfaceMessage): GuestInterface {
  const addresses = IPAddresses.map(({ family, address, mask }) => ({
    family: family as GuestAddress["family"],
    address: `${address}/${mask}`,
  }));
  return { name, mac: hwAddr, mtu: Number(mtu), addresses };
}

/** The message for routes that have been checked. */
export function routesToWire(routes: readonly GuestRoute[]): RoutesMessage {
  return {
    Routes: routes.map(({ destination, gateway = "", device, source = "", scope = 0 }) => ({
      // A default route has no destination in this protocol, and then its gateway tells the family.
      dest: destination.endsWith("/0") && gateway !== "" ? "" : destination,
      gateway,
      device,
      source,
      scope,
    })),
  };
}

/** @throws INVALID_INPUT. */
export function routesFromWire(message: RoutesMessage | null, path: string): readonly GuestRoute[] {
  if (!message) throw refused(path, message, "routes");
  return checkRoutes(within(message.Routes, MOST.routes, path).map(uncheckedRoute), path);
}

function uncheckedRoute({ dest, gateway, device, source, scope }: RouteMessage): GuestRoute {
  const everywhere = familyOf(gateway || source) === "v6" ? "::/0" : "0.0.0.0/0";
  return {
    destination: dest === "" || dest === "default" ? everywhere : dest,
    ...(gateway !== "" && { gateway }),
    device,
    ...(source !== "" && { source }),
    scope,
  };
}

/** The message for neighbours that have been checked. */
export function neighborsToWire(neighbors: readonly GuestNeighbor[]): { readonly ARPNeighbors: readonly ArpNeighborMessage[] } {
  return {
    ARPNeighbors: neighbors.map(({ family, address, device, mac }) => ({
      toIPAddress: { family, address, mask: "" },
      device,
      lladdr: mac,
      state: NUD_PERMANENT,
      flags: 0,
    })),
  };
}

/** @throws INVALID_INPUT. */
export function neighborsFromWire(
  message: { readonly ARPNeighbors: readonly ArpNeighborMessage[] } | null,
  path: string,
): readonly GuestNeighbor[] {
  if (!message) throw refused(path, message, "neighbours");
  const unknown: IpAddressMessage = { family: "v4", address: "", mask: "" };
  return checkNeighbors(
    message.ARPNeighbors.map(({ toIPAddress, device, lladdr, state }, index) => {
      if (state !== 0 && state !== NUD_PERMANENT) throw refused(`${path}[${index}].state`, state, `${NUD_PERMANENT}, one that stays`);
      const { family, address } = toIPAddress ?? unknown;
      return { family: family as GuestNeighbor["family"], address, device, mac: lladdr };
    }),
    path,
  );
}

function within<Item>(list: readonly Item[], most: number, path: string): readonly Item[] {
  if (list.length <= most) return list;
  throw refused(path, list.length, `at most ${most}`);
}

function refused(path: string, value: unknown, wanted: string): TapvisorError {
  return new TapvisorError("INVALID_INPUT", `Cannot use ${path} ${JSON.stringify(value)}: wanted ${wanted}`, {
    data: { path, value, wanted },
  });
}
