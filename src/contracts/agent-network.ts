import type { Call } from "./holding.ts";

/**
 * The guest's network: interfaces, routes, neighbours. It belongs to the guest, not to a sandbox: all calls work before `createSandbox` too. What is
 * asked for is checked before it is sent (INVALID_INPUT names the field); what the agent refuses is AGENT_FAILED, and the network is then as it was.
 */
export interface AgentNetwork {
  /** All interfaces, the loopback one among them. Link-local IPv6 addresses, which the kernel gives itself, are not among the addresses. */
  listInterfaces(call: Call): Promise<readonly GuestInterface[]>;
  /**
   * Finds the interface by its MAC, gives it this name, MTU and exactly these addresses, and brings it up. Routes through it can be lost by that.
   * Resolves with what it is then. @throws AGENT_FAILED, NOT_FOUND or INTERNAL (Kata) when there is none.
   */
  updateInterface(wanted: GuestInterface, call: Call): Promise<GuestInterface>;
  /** The same for a card that was plugged in just now: it is waited for. Agents of Kata 1.6 and later answer UNIMPLEMENTED. */
  addInterface(wanted: GuestInterface, call: Call): Promise<GuestInterface>;
  /** Takes the interface down and its addresses away; a card stays there until it is unplugged. One that is not there is success. */
  removeInterface(mac: string, call: Call): Promise<void>;
  /** All routes of the main tables, those among them that the kernel makes for addresses. */
  listRoutes(call: Call): Promise<readonly GuestRoute[]>;
  /** Has these routes beside the kernel's own and those of the loopback interface, and no others. Resolves with all there are then. */
  updateRoutes(wanted: readonly GuestRoute[], call: Call): Promise<readonly GuestRoute[]>;
  /** Adds neighbours that are never asked for: all or none. Agents before Kata 1.12 answer UNIMPLEMENTED. */
  addArpNeighbors(neighbors: readonly GuestNeighbor[], call: Call): Promise<void>;
}

export type IpFamily = "v4" | "v6";

/** An address of an interface. */
export interface GuestAddress {
  readonly family: IpFamily;
  /** With the length of the network's prefix: `10.0.2.15/24`. */
  readonly address: string;
}

export interface GuestInterface {
  /** At most 15 letters, digits, `_`, `.` or `-`. */
  readonly name: string;
  /** `02:00:00:00:00:01`; empty for an interface that has none. */
  readonly mac: string;
  /** Bytes. To set: 68 to 65 535. */
  readonly mtu: number;
  readonly addresses: readonly GuestAddress[];
}

export interface GuestRoute {
  /** With the length of its prefix; `0.0.0.0/0` or `::/0` is the default route. */
  readonly destination: string;
  /** None when absent: the destination is on the link. */
  readonly gateway?: string;
  /** The interface's name. */
  readonly device: string;
  /** The source address to prefer. */
  readonly source?: string;
  /** The kernel's number: 0 everywhere (default), 253 this link, 254 this host. IPv6 has no such thing. */
  readonly scope?: number;
}

/** A neighbour on a link, in the ARP table for IPv4. */
export interface GuestNeighbor {
  readonly family: IpFamily;
  /** Without a prefix. */
  readonly address: string;
  /** The interface's name. */
  readonly device: string;
  readonly mac: string;
}
