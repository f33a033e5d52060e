import { checkMac, checkPrefixed } from "../../base/network-names.ts";
import type { GuestInterface, GuestNeighbor, GuestRoute } from "../../contracts/agent-network.ts";
import { checkInterface, checkNeighbors, checkRoutes } from "../../protocol/kata/network.ts";
import { agentError } from "./agent-error.ts";

const LOOPBACK: GuestInterface = {
  name: "lo",
  mac: "00:00:00:00:00:00",
  mtu: 65_536,
  addresses: [{ family: "v4", address: "127.0.0.1/8" }],
};

/** What is configured of a network. */
export interface SavedNetwork {
  readonly interfaces: readonly GuestInterface[];
  readonly routes: readonly GuestRoute[];
  readonly neighbors: readonly GuestNeighbor[];
}

/** The network of a guest in the fake world: its loopback interface, and the cards that a test has put in. */
export class FakeNetwork {
  #interfaces: readonly GuestInterface[] = [LOOPBACK];
  #routes: readonly GuestRoute[] = [];
  #neighbors: readonly GuestNeighbor[] = [];

  /** Nothing in it ever changes: what does is replaced. */
  save(): SavedNetwork {
    return { interfaces: this.#interfaces, routes: this.#routes, neighbors: this.#neighbors };
  }

  restore({ interfaces, routes, neighbors }: SavedNetwork): void {
    this.#interfaces = interfaces;
    this.#routes = routes;
    this.#neighbors = neighbors;
  }

  get interfaces(): readonly GuestInterface[] {
    return this.#interfaces;
  }

  get routes(): readonly GuestRoute[] {
    return [...this.#interfaces.flatMap(routesOf), ...this.#routes];
  }

  get neighbors(): readonly GuestNeighbor[] {
    return this.#neighbors;
  }

  /** A card that is plugged in, without an address. */
  plug(name: string, mac: string): void {
    this.#interfaces = [...this.#interfaces, { name, mac: checkMac("mac", mac), mtu: 1500, addresses: [] }];
  }

  update(method: string, asked: GuestInterface): GuestInterface {
    const wanted = checkInterface(asked, "interface");
    const before = this.#interfaces.find(({ mac }) => mac === wanted.mac);
    if (!before) throw agentError(method, "NOT_FOUND", `no interface with the MAC ${wanted.mac}`);
    if (this.#interfaces.some((each) => each !== before && each.name === wanted.name)) {
      throw agentError(method, "ALREADY_EXISTS", `there is an interface ${wanted.name}`);
    }
    this.#interfaces = this.#interfaces.map((each) => (each === before ? wanted : each));
    if (before.name !== wanted.name) this.#routes = this.#routes.filter(({ device }) => device !== before.name); // it was down
    return wanted;
  }

  /** The card stays, without an address and the routes through it. */
  remove(mac: string): void {
    const wanted = checkMac("mac", mac);
    for (const { name } of this.#interfaces.filter((each) => each.mac === wanted)) {
      this.#routes = this.#routes.filter(({ device }) => device !== name);
    }
    this.#interfaces = this.#interfaces.map((each) => (each.mac === wanted ? { ...each, addresses: [] } : each));
  }

  replaceRoutes(asked: readonly GuestRoute[]): readonly GuestRoute[] {
    const wanted = checkRoutes(asked, "routes");
    const kernels = this.#interfaces.flatMap(routesOf);
    for (const { device } of wanted) this.#need("UpdateRoutes", device);
    const added = wanted.filter((route) => !kernels.some((each) => each.destination === route.destination && each.device === route.device));
    const names = added.map(({ destination }) => destination);
    if (new Set(names).size < names.length) throw agentError("UpdateRoutes", "ALREADY_EXISTS", "two routes lead to one place");
    this.#routes = added;
    return this.routes;
  }

  addNeighbors(asked: readonly GuestNeighbor[]): void {
    const wanted = checkNeighbors(asked, "neighbors");
    for (const { device } of wanted) this.#need("AddARPNeighbors", device);
    const isNew = ({ address }: GuestNeighbor) => !wanted.some((each) => each.address === address);
    this.#neighbors = [...this.#neighbors.filter(isNew), ...wanted];
  }

  #need(method: string, device: string): void {
    if (!this.#interfaces.some(({ name }) => name === device)) throw agentError(method, "NOT_FOUND", `no interface ${device}`);
  }
}

/** The kernel's own, one for each address; that of the loopback interface is in another table. */
function routesOf({ name, addresses }: GuestInterface): readonly GuestRoute[] {
  if (name === LOOPBACK.name) return [];
  return addresses.map(({ family, address }) => {
    const [source = ""] = address.split("/");
    return { destination: networkOf(address), device: name, ...(family === "v4" ? { source, scope: 253 } : { scope: 0 }) };
  });
}

function networkOf(address: string): string {
  const [ip = "", length = ""] = address.split("/");
  const bytes = bytesOf(ip).map((byte, index) => byte & (0xff00 >> Math.min(8, Math.max(0, Number(length) - index * 8))) & 0xff);
  if (!ip.includes(":")) return `${bytes.join(".")}/${length}`;
  const groups = Array.from({ length: 8 }, (_, index) => ((bytes[index * 2] ?? 0) * 256 + (bytes[index * 2 + 1] ?? 0)).toString(16));
  return checkPrefixed("address", `${groups.join(":")}/${length}`);
}

/** Of an address in the kernel's spelling. */
function bytesOf(ip: string): readonly number[] {
  if (!ip.includes(":")) return ip.split(".").map(Number);
  const [before = [], after = []] = ip.split("::").map((half) => half.split(":").filter(Boolean));
  const groups = [...before, ...Array<string>(8 - before.length - after.length).fill("0"), ...after];
  return groups.flatMap((group) => [Number.parseInt(group, 16) >> 8, Number.parseInt(group, 16) & 0xff]);
}
