import { setTimeout as delay } from "node:timers/promises";
import { status } from "@grpc/grpc-js";
import type { InterfaceMessage } from "tapvisor/protocol";
import * as assert from "uvu/assert";
import { suite } from "../../../support/suite.ts";
import { fakeGuest, refusal } from "./support/fake-guest.ts";
import { FakeIp } from "./support/fake-ip.ts";

const s = suite("guest agent: network");

const MAC = "02:00:00:00:00:01";
const v4 = (address: string, mask = "24") => ({ family: "v4", address, mask }) as const;
const v6 = (address: string, mask = "64") => ({ family: "v6", address, mask }) as const;
const route = (dest: string, gateway = "", device = "eth0") => ({ dest, gateway, device, source: "", scope: 0 });
const neighbor = (address: string, lladdr: string, device = "eth0") => ({
  toIPAddress: { family: "v4" as const, address, mask: "" },
  device,
  lladdr,
  state: 128,
  flags: 0,
});
/** What the interface of the tests is to be: everything about it changes. */
const CHANGED: InterfaceMessage = {
  device: "eth0",
  name: "net0",
  IPAddresses: [v4("10.1.0.2"), v4("10.2.0.2"), v6("fd00::2")],
  mtu: "1400",
  hwAddr: MAC,
  pciAddr: "",
  type: "",
  raw_flags: 0x80,
};

/** A card that is up with two addresses and two routes through it. */
async function world() {
  const guest = await fakeGuest();
  const ip = new FakeIp(guest.paths);
  Object.assign(guest.agent, { busybox: ip.run });
  await ip.plug("lo", "00:00:00:00:00:00", { card: false, up: true, addresses: ["127.0.0.1/8"] });
  await ip.plug("eth0", MAC, { up: true, addresses: ["10.1.0.2/24", "fd00::9/64"] });
  ip.routes.push("-4 default via 10.1.0.1 dev eth0", "-4 10.9.0.0/16 dev eth0 scope link", "-6 fd09::/64 via fd00::1 dev eth0 metric 1024");
  return { guest, ip, [Symbol.asyncDispose]: () => guest[Symbol.asyncDispose]() };
}

/** Does it again and again, refusing each of its changes in turn: each time all is as it was. Answers how many there were. */
async function everyFailureIsUndone(work: (here: Awaited<ReturnType<typeof world>>) => Promise<unknown>): Promise<number> {
  for (let failAt = 1; ; failAt++) {
    await using here = await world();
    const before = await here.ip.state();
    here.ip.failAt = failAt;
    const [outcome] = await Promise.allSettled([work(here)]);
    if (outcome.status === "fulfilled") return failAt - 1;
    assert.ok(failAt < 50, String(outcome.reason));
    assert.equal(await here.ip.state(), before, `after the failure of ${here.ip.changes[failAt - 1]}`);
  }
}

s.test("the interfaces are listed without the addresses that the kernel gives itself", async () => {
  await using here = await world();
  const { Interfaces } = await here.guest.call("ListInterfaces", {});
  assert.equal(
    Interfaces.map(({ name, hwAddr, mtu, IPAddresses }) => [name, hwAddr, mtu, IPAddresses]),
    [
      ["eth0", MAC, "1500", [v4("10.1.0.2"), v6("fd00::9")]],
      ["lo", "00:00:00:00:00:00", "1500", [v4("127.0.0.1", "8")]],
    ],
  );
});

s.test("an interface is found by its MAC and made what is asked for, in as few steps as it takes", async () => {
  await using here = await world();
  assert.equal(await here.guest.call("UpdateInterface", { interface: CHANGED }), { ...CHANGED, device: "net0" });
  assert.equal(here.ip.changes, [
    "ip link set dev eth0 down",
    "ip link set dev eth0 name net0",
    "ip link set dev net0 mtu 1400",
    "ip link set dev net0 arp off",
    "ip addr add 10.2.0.2/24 broadcast + dev net0",
    "ip addr add fd00::2/64 dev net0",
    "ip link set dev net0 up",
  ]);
  here.ip.changes.length = 0;
  await here.guest.call("UpdateInterface", { interface: { ...CHANGED, hwAddr: MAC.toUpperCase() } });
  assert.equal(here.ip.changes, []);
});

s.test("an update that is refused at any of its steps leaves the interface and the routes as they were", async () => {
  const steps = await everyFailureIsUndone(({ guest }) => guest.call("UpdateInterface", { interface: CHANGED }));
  assert.ok(steps >= 7, `${steps} steps`);
  // The kernel drops IPv6 with such an MTU, its addresses, routes and switches.
  const small = { ...CHANGED, mtu: "1000", IPAddresses: [v4("10.2.0.2")] };
  assert.ok((await everyFailureIsUndone(({ guest }) => guest.call("UpdateInterface", { interface: small }))) >= 6);
});

s.test("routes are replaced, but for the kernel's own, those on the link first; what the kernel has is not added again", async () => {
  await using here = await world();
  const asked = [
    route("10.8.0.0/16", "10.7.0.1"),
    route("", "10.1.0.1"),
    route("10.7.0.0/16"),
    route("10.1.0.0/24"),
    route("fd08::/64", "fd00::1"),
  ];
  const { Routes } = await here.guest.call("UpdateRoutes", { routes: { Routes: asked } });
  assert.equal(
    Routes.map(({ dest, gateway, scope }) => [dest, gateway, scope]),
    [
      ["10.1.0.0/24", "", 253],
      ["10.7.0.0/16", "", 253],
      ["10.8.0.0/16", "10.7.0.1", 0],
      ["", "10.1.0.1", 0],
      ["fd00::/64", "", 0],
      ["fe80::/64", "", 0],
      ["fd08::/64", "fd00::1", 0],
    ],
  );
  assert.equal(here.ip.changes.slice(0, 3), [
    "ip -6 route del fd09::/64 via fd00::1 dev eth0 metric 1024",
    "ip -4 route del 10.9.0.0/16 dev eth0 scope link",
    "ip -4 route del default via 10.1.0.1 dev eth0 scope global",
  ]);
  assert.equal((await here.guest.call("ListRoutes", {})).Routes, Routes);
});

s.test("routes that are refused at any step leave those that there were", async () => {
  const Routes = [route("10.8.0.0/16", "10.1.0.1"), route("10.7.0.0/16"), route("fd08::/64", "fd00::1")];
  const steps = await everyFailureIsUndone(({ guest }) => guest.call("UpdateRoutes", { routes: { Routes } }));
  assert.is(steps, 6);
});

s.test("neighbours are added all or none, and those that they replace come back", async () => {
  const ARPNeighbors = [neighbor("10.1.0.7", "02:00:00:00:00:07"), neighbor("10.1.0.8", "02:00:00:00:00:08")] as const;
  await using here = await world();
  await here.guest.call("AddARPNeighbors", { neighbors: { ARPNeighbors } });
  assert.equal([...here.ip.neighbors.values()], ["02:00:00:00:00:07", "02:00:00:00:00:08"]);
  here.ip.changes.length = 0;
  here.ip.failAt = 2;
  const again = [neighbor("10.1.0.7", "02:00:00:00:00:99"), neighbor("10.1.0.9", "02:00:00:00:00:98")];
  assert.is((await refusal(here.guest.call("AddARPNeighbors", { neighbors: { ARPNeighbors: again } }))).status, status.INVALID_ARGUMENT);
  assert.equal(
    [...here.ip.neighbors],
    [
      ["10.1.0.7 eth0", "02:00:00:00:00:07"],
      ["10.1.0.8 eth0", "02:00:00:00:00:08"],
    ],
  );
});

s.test("an interface with an unknown MAC is NOT_FOUND; one that is added, or said to be plugged in, is waited for", async () => {
  await using here = await world();
  const hwAddr = "02:00:00:00:00:02";
  const asked = { ...CHANGED, hwAddr };
  assert.is((await refusal(here.guest.call("UpdateInterface", { interface: asked }))).status, status.NOT_FOUND);
  assert.is((await refusal(here.guest.call("RemoveInterface", { interface: asked }))).status, status.NOT_FOUND);
  const adding = here.guest.call("AddInterface", { interface: asked });
  await delay(50);
  await here.ip.plug("eth1", hwAddr);
  assert.is((await adding).name, "net0");
  const other = { ...CHANGED, name: "net1", hwAddr: "02:00:00:00:00:03", pciAddr: "02/03" };
  const updating = here.guest.call("UpdateInterface", { interface: other });
  await here.ip.plug("eth2", other.hwAddr);
  assert.is((await updating).name, "net1");
  const never = { interface: { ...CHANGED, hwAddr: "02:00:00:00:00:04" } };
  assert.is((await refusal(here.guest.call("AddInterface", never, { timeoutMs: 200 }))).status, status.DEADLINE_EXCEEDED);
});

s.test("a card that is removed stays, down and without addresses; another interface goes", async () => {
  await using here = await world();
  await here.ip.plug("dummy0", "02:00:00:00:00:05", { card: false });
  for (const hwAddr of [MAC, "02:00:00:00:00:05"]) await here.guest.call("RemoveInterface", { interface: { ...CHANGED, hwAddr } });
  assert.equal([...here.ip.links.keys()], ["lo", "eth0"]);
  const eth0 = here.ip.links.get("eth0");
  assert.equal([eth0?.up, eth0?.addresses], [false, []]);
});

s.test("what cannot be is INVALID_ARGUMENT naming the field and the value, and nothing is done", async () => {
  await using here = await world();
  const bad: readonly (readonly [() => Promise<unknown>, RegExp])[] = [
    [() => here.guest.call("UpdateInterface", {}), /interface null/],
    [() => here.guest.call("UpdateInterface", { interface: { ...CHANGED, name: "up down" } }), /interface\.name "up down"/],
    [() => here.guest.call("UpdateInterface", { interface: { ...CHANGED, name: "-o" } }), /interface\.name "-o"/],
    [() => here.guest.call("UpdateInterface", { interface: { ...CHANGED, hwAddr: "" } }), /interface\.mac ""/],
    [() => here.guest.call("UpdateInterface", { interface: { ...CHANGED, mtu: "0" } }), /interface\.mtu 0/],
    [() => here.guest.call("UpdateInterface", { interface: { ...CHANGED, IPAddresses: [v4("10.0.0.1;x")] } }), /addresses\[0\]\.address/],
    [() => here.guest.call("UpdateInterface", { interface: { ...CHANGED, IPAddresses: Array(65).fill(v4("10.0.0.1")) } }), /addresses 65/],
    [() => here.guest.call("RemoveInterface", { interface: { ...CHANGED, hwAddr: "x" } }), /interface\.hwAddr "x"/],
    [() => here.guest.call("UpdateRoutes", {}), /routes null/],
    [() => here.guest.call("UpdateRoutes", { routes: { Routes: [route("10.0.0.0/8", "fd00::1")] } }), /routes\[0\]\.gateway/],
    [() => here.guest.call("UpdateRoutes", { routes: { Routes: Array(1025).fill(route("10.0.0.0/8")) } }), /routes 1025/],
    [() => here.guest.call("AddARPNeighbors", {}), /neighbors null/],
    [
      () => here.guest.call("AddARPNeighbors", { neighbors: { ARPNeighbors: [{ ...neighbor("10.0.0.1", MAC), state: 2 } as never] } }),
      /neighbors\[0\]\.state 2/,
    ],
  ];
  for (const [call, text] of bad) {
    const refused = await refusal(call());
    assert.is(refused.status, status.INVALID_ARGUMENT, refused.text);
    assert.match(refused.text, text);
  }
  assert.equal(here.ip.changes, []);
});

s.test("changes take turns: two at once do not mix", async () => {
  await using here = await world();
  await Promise.all([
    here.guest.call("UpdateInterface", { interface: { ...CHANGED, name: "one0" } }),
    here.guest.call("UpdateInterface", { interface: { ...CHANGED, name: "two0" } }),
  ]);
  const names = here.ip.changes.flatMap((change) => / name (\w+)$/.exec(change)?.[1] ?? []);
  assert.equal(names.length, 2);
  assert.ok(here.ip.links.has(names[1] ?? ""));
});

s.run();
