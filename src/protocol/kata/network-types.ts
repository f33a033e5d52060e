import type { Empty } from "./types.ts";

/** The messages of the calls about the network, decoded as those in types.ts. */
export interface IpAddressMessage {
  readonly family: "v4" | "v6" | number;
  readonly address: string;
  /** The length of the prefix, as text; empty for a neighbour. */
  readonly mask: string;
}

export interface InterfaceMessage {
  readonly device: string;
  readonly name: string;
  readonly IPAddresses: readonly IpAddressMessage[];
  readonly mtu: string;
  readonly hwAddr: string;
  /** Where it is plugged in, when the agent is to wait for it. */
  readonly pciAddr: string;
  readonly type: string;
  /** The kernel's flags, of which only IFF_NOARP counts. */
  readonly raw_flags: number;
}

export interface RouteMessage {
  /** Empty for the default route. */
  readonly dest: string;
  readonly gateway: string;
  readonly device: string;
  readonly source: string;
  readonly scope: number;
}

export interface ArpNeighborMessage {
  readonly toIPAddress: IpAddressMessage | null;
  readonly device: string;
  readonly lladdr: string;
  /** The kernel's NUD_ state: 0x80 for one that stays. */
  readonly state: number;
  readonly flags: number;
}

export interface InterfaceRequest {
  readonly interface: InterfaceMessage | null;
}

export interface InterfacesMessage {
  readonly Interfaces: readonly InterfaceMessage[];
}

export interface RoutesMessage {
  readonly Routes: readonly RouteMessage[];
}

export interface UpdateRoutesRequest {
  readonly routes: RoutesMessage | null;
}

export interface AddArpNeighborsRequest {
  readonly neighbors: { readonly ARPNeighbors: readonly ArpNeighborMessage[] } | null;
}

export interface NetworkCalls {
  ListInterfaces: [Empty, InterfacesMessage];
  UpdateInterface: [InterfaceRequest, InterfaceMessage];
  AddInterface: [InterfaceRequest, InterfaceMessage];
  RemoveInterface: [InterfaceRequest, InterfaceMessage];
  ListRoutes: [Empty, RoutesMessage];
  UpdateRoutes: [UpdateRoutesRequest, RoutesMessage];
  AddARPNeighbors: [AddArpNeighborsRequest, Empty];
}
