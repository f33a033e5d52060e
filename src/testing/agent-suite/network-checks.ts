import assert from "node:assert/strict";
import type { GuestInterface, GuestRoute } from "../../contracts/agent-network.ts";
import type { CheckOn } from "../conformance/checks.ts";
import { failure, firedCall, rejects } from "../conformance/expect.ts";
import { quietCall } from "../quiet-call.ts";
import { refuses } from "./expect-status.ts";
import { type AgentFixture, type AgentWorld, withSandbox } from "./fixture.ts";

/** No card of a fixture has it. */
const NOBODY = "02:ff:ff:ff:ff:fe";
const LOOPBACK = "lo";

interface CardWorld extends AgentWorld {
  readonly card: { readonly name: string; readonly mac: string };
  /** What the card is made in most checks. */
  readonly wanted: GuestInterface;
  /** The card as it is listed. */
  now(): Promise<GuestInterface | undefined>;
  /** The routes through it. */
  routes(): Promise<readonly GuestRoute[]>;
}

/** The network of the guest. */
export function networkChecks(check: CheckOn<AgentFixture>): void {
  const checkIn = (behaviour: string, body: (world: AgentWorld) => Promise<void>) =>
    check(behaviour, (fixture) => withSandbox(fixture, body));
  /** Only where the fixture has a card. */
  const checkCard = (behaviour: string, body: (world: CardWorld) => Promise<void>) =>
    checkIn(behaviour, async (world) => {
      if (world.fixture.nic) await withCard(world, await world.fixture.nic(), body);
    });

  checkIn("listInterfaces() has the loopback interface, and lists are in bounds", async ({ client }) => {
    const interfaces = await client.listInterfaces(quietCall());
    assert.ok(
      interfaces.some(({ name }) => name === LOOPBACK),
      "there is always a loopback interface",
    );
    for (const { name, mac, mtu, addresses } of interfaces) {
      assert.match(name, /^[\w.-]{1,15}$/);
      assert.match(mac, /^([0-9a-f]{2}(:[0-9a-f]{2})*)?$/);
      assert.ok(Number.isSafeInteger(mtu) && mtu >= 0, `MTU ${mtu}`);
      for (const { family, address } of addresses) assert.match(address, family === "v4" ? /^[\d.]+\/\d+$/ : /^[\da-f:.]+\/\d+$/);
    }
    for (const { destination, device } of await client.listRoutes(quietCall())) {
      assert.match(destination, /^[\da-f:.]+\/\d+$/);
      assert.ok(
        interfaces.some(({ name }) => name === device),
        `a route through ${device}, which is not listed`,
      );
    }
  });

  checkIn("updateInterface() of an interface that is not there is refused, and removeInterface() is success", async ({ client }) => {
    const before = await client.listInterfaces(quietCall());
    const wanted = { name: "net0", mac: NOBODY, mtu: 1500, addresses: [] };
    await refuses("updateInterface() of nobody", client.updateInterface(wanted, quietCall()), "NOT_FOUND", "INTERNAL");
    for (let time = 0; time < 2; time++) await client.removeInterface(NOBODY, quietCall());
    assert.deepEqual(await client.listInterfaces(quietCall()), before);
  });

  checkIn("what cannot be is refused by the name of its field, before anything is done", async ({ client }) => {
    const good = { name: "net0", mac: NOBODY, mtu: 1500, addresses: [] };
    const v4 = (address: string) => [{ family: "v4", address } as const];
    const bad: readonly (readonly [Partial<GuestInterface>, string])[] = [
      [{ name: "a-name-of-sixteen" }, "interface.name"],
      [{ name: "a/b" }, "interface.name"],
      [{ name: "" }, "interface.name"],
      [{ mac: "02:00" }, "interface.mac"],
      [{ mtu: 67 }, "interface.mtu"],
      [{ mtu: 1500.5 }, "interface.mtu"],
      [{ addresses: v4("10.0.0.1") }, "interface.addresses[0].address"],
      [{ addresses: v4("10.0.0.256/24") }, "interface.addresses[0].address"],
      [{ addresses: v4("10.0.0.1/33") }, "interface.addresses[0].address"],
      [{ addresses: v4("fd00::1/64") }, "interface.addresses[0].address"],
      [{ addresses: [...v4("10.0.0.1/24"), ...v4("10.0.0.1/24")] }, "interface.addresses[1].address"],
    ];
    for (const [change, path] of bad) {
      const error = await rejects(JSON.stringify(change), client.updateInterface({ ...good, ...change }, quietCall()), "INVALID_INPUT");
      assert.equal(Reflect.get(error.data, "path"), path);
    }
    const routes: readonly (readonly [GuestRoute, string])[] = [
      [{ destination: "10.0.0.0", device: LOOPBACK }, "routes[0].destination"],
      [{ destination: "10.0.0.0/8", device: "" }, "routes[0].device"],
      [{ destination: "10.0.0.0/8", device: LOOPBACK, gateway: "fd00::1" }, "routes[0].gateway"],
      [{ destination: "10.0.0.0/8", device: LOOPBACK, source: "me" }, "routes[0].source"],
      [{ destination: "10.0.0.0/8", device: LOOPBACK, scope: 256 }, "routes[0].scope"],
    ];
    for (const [route, path] of routes) {
      const error = await rejects(JSON.stringify(route), client.updateRoutes([route], quietCall()), "INVALID_INPUT");
      assert.equal(Reflect.get(error.data, "path"), path);
    }
    const neighbor = { family: "v4", address: "10.0.0.1/24", device: LOOPBACK, mac: NOBODY } as const;
    const error = await rejects("a neighbour with a prefix", client.addArpNeighbors([neighbor], quietCall()), "INVALID_INPUT");
    assert.equal(Reflect.get(error.data, "path"), "neighbors[0].address");
  });

  checkCard("updateInterface() gives an interface its name, MTU and exactly these addresses", async (world) => {
    const { client, wanted } = world;
    assert.deepEqual(plain(await client.updateInterface(wanted, quietCall())), plain(wanted));
    assert.deepEqual(plain(await world.now()), plain(wanted));
    const less = { ...wanted, mtu: 1500, addresses: [{ family: "v4", address: "10.9.8.3/24" } as const] };
    await client.updateInterface(less, quietCall());
    assert.deepEqual(plain(await world.now()), plain(less));
  });

  checkCard("addInterface() of a card that is there does the same, and removeInterface() takes its addresses and routes", async (world) => {
    const { client, wanted, card } = world;
    await client.addInterface(wanted, quietCall());
    assert.deepEqual(plain(await world.now()), plain(wanted));
    for (let time = 0; time < 2; time++) await client.removeInterface(card.mac, quietCall());
    assert.deepEqual((await world.now())?.addresses ?? [], []);
    assert.deepEqual(await world.routes(), []);
  });

  checkCard("an updateInterface() that fails leaves the network as it was", async (world) => {
    const { client, wanted } = world;
    await client.updateInterface(wanted, quietCall());
    await client.updateRoutes([{ destination: "10.77.0.0/16", gateway: "10.9.8.1", device: wanted.name }], quietCall());
    const [before, routes] = [await world.now(), await world.routes()];
    const taken = { ...wanted, name: LOOPBACK, mtu: 1300, addresses: [] };
    await refuses("updateInterface() to a name that is taken", client.updateInterface(taken, quietCall()));
    await failure("updateInterface() with a fired signal", client.updateInterface({ ...wanted, mtu: 1300 }, firedCall()));
    assert.deepEqual(await world.now(), before);
    assert.deepEqual(await world.routes(), routes);
  });

  checkCard("updateRoutes() replaces all routes but the kernel's, and says which there are", async (world) => {
    const { client, wanted } = world;
    const device = wanted.name;
    await client.updateInterface(wanted, quietCall());
    const kernels = await world.routes();
    assert.ok(
      kernels.some(({ destination }) => destination === "10.9.8.0/24"),
      "the kernel makes a route for an address",
    );
    const first: readonly GuestRoute[] = [
      { destination: "0.0.0.0/0", gateway: "10.9.8.1", device },
      { destination: "10.77.0.0/16", gateway: "10.9.8.7", device },
      { destination: "10.9.8.0/24", device }, // the kernel has it already
      { destination: "fd00:99::/64", gateway: "fd00:77::1", device },
    ];
    for (let time = 0; time < 2; time++) {
      const answered = await client.updateRoutes(first, quietCall());
      for (const route of first) assert.ok(has(answered, route), `${route.destination} was not answered`);
    }
    const second = { destination: "10.78.0.0/16", gateway: "10.9.8.1", device };
    await client.updateRoutes([second], quietCall());
    assert.deepEqual(sorted(await world.routes()), sorted([...kernels, { ...second, scope: 0 }]));
    await client.updateRoutes([], quietCall());
    assert.deepEqual(sorted(await world.routes()), sorted(kernels));
  });

  checkCard("an updateRoutes() that fails leaves the routes as they were", async (world) => {
    const { client, wanted } = world;
    await client.updateInterface(wanted, quietCall());
    const kept = { destination: "10.77.0.0/16", gateway: "10.9.8.1", device: wanted.name };
    await client.updateRoutes([kept], quietCall());
    const before = await world.routes();
    const another = { ...kept, destination: "10.78.0.0/16" };
    for (const bad of [{ ...kept, destination: "10.79.0.0/16", device: "nosuch0" }, another]) {
      await refuses("updateRoutes() with a route that cannot be", client.updateRoutes([another, bad], quietCall()));
      assert.deepEqual(sorted(await world.routes()), sorted(before));
    }
    await failure("updateRoutes() with a fired signal", client.updateRoutes([], firedCall()));
    assert.deepEqual(sorted(await world.routes()), sorted(before));
  });

  checkCard("neighbours are added again and again, and refused where there is no such interface", async (world) => {
    const { client, wanted } = world;
    await client.updateInterface(wanted, quietCall());
    const neighbor = { family: "v4", address: "10.9.8.9", device: wanted.name, mac: "02:00:00:00:00:09" } as const;
    for (let time = 0; time < 2; time++) await client.addArpNeighbors([neighbor], quietCall());
    await refuses("a neighbour nowhere", client.addArpNeighbors([{ ...neighbor, device: "nosuch0" }], quietCall()));
  });
}

/** Lets `body` use the card, and makes of it what it was. */
async function withCard(world: AgentWorld, card: CardWorld["card"], body: (world: CardWorld) => Promise<void>): Promise<void> {
  const { client } = world;
  const wanted: GuestInterface = {
    name: "net.7_x",
    mac: card.mac,
    mtu: 1400,
    addresses: [
      { family: "v4", address: "10.9.8.2/24" },
      { family: "v6", address: "fd00:77::2/64" },
    ],
  };
  const now = async () => (await client.listInterfaces(quietCall())).find(({ mac }) => mac === card.mac);
  const isIts = ({ device, destination }: GuestRoute) => [card.name, wanted.name].includes(device) && destination !== "fe80::/64";
  const routes = async () => (await client.listRoutes(quietCall())).filter(isIts);
  try {
    await body({ ...world, card, wanted, now, routes });
  } finally {
    await client.updateRoutes([], quietCall());
    await client.updateInterface({ name: card.name, mac: card.mac, mtu: 1500, addresses: [] }, quietCall());
    await client.removeInterface(card.mac, quietCall());
  }
}

/** The order of addresses is the guest's. */
function plain(found: GuestInterface | undefined): unknown {
  return found && { ...found, addresses: found.addresses.map(({ address }) => address).sort() };
}

function has(routes: readonly GuestRoute[], { destination, gateway, device }: GuestRoute): boolean {
  return routes.some((route) => route.destination === destination && route.gateway === gateway && route.device === device);
}

function sorted(routes: readonly GuestRoute[]): readonly string[] {
  return routes.map(({ destination, gateway, device }) => `${destination} ${gateway ?? ""} ${device}`).sort();
}
