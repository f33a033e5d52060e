import { status } from "@grpc/grpc-js";
import type { AgentClient, Call, GuestInterface } from "tapvisor/plugin";
import { quietCall } from "tapvisor/testing";
import * as assert from "uvu/assert";
import { suite } from "../../support/suite.ts";
import { failure } from "./expect.ts";
import { connected, grpcGuest } from "./fake-guest.ts";

const s = suite("agent-grpc: the network, and the guest as a machine");

const MAC = "02:00:00:00:00:01";
const CARD: GuestInterface = {
  name: "net0",
  mac: MAC,
  mtu: 1400,
  addresses: [
    { family: "v4", address: "10.0.0.2/24" },
    { family: "v6", address: "fd00::2/64" },
  ],
};
const CARD_MESSAGE = {
  device: "net0",
  name: "net0",
  IPAddresses: [
    { family: "v4", address: "10.0.0.2", mask: "24" },
    { family: "v6", address: "fd00::2", mask: "64" },
  ],
  mtu: "1400",
  hwAddr: MAC,
  pciAddr: "",
  type: "",
  raw_flags: 0,
};
const ROUTES_MESSAGE = {
  Routes: [
    { dest: "", gateway: "10.0.0.1", device: "net0", source: "", scope: 0 },
    { dest: "10.0.0.0/24", gateway: "", device: "net0", source: "10.0.0.2", scope: 253 },
    { dest: "", gateway: "fd00::1", device: "net0", source: "", scope: 0 },
  ],
};
const ROUTES = [
  { destination: "0.0.0.0/0", gateway: "10.0.0.1", device: "net0", scope: 0 },
  { destination: "10.0.0.0/24", device: "net0", source: "10.0.0.2", scope: 253 },
  { destination: "::/0", gateway: "fd00::1", device: "net0", scope: 0 },
];

interface Mapping {
  readonly verb: string;
  readonly run: (client: AgentClient, call: Call) => Promise<unknown>;
  readonly method: string;
  readonly request: object;
  readonly answer?: object;
  readonly result?: unknown;
}

const MAPPINGS: readonly Mapping[] = [
  {
    verb: "listInterfaces, of whatever kind they are,",
    run: (client, call) => client.listInterfaces(call),
    method: "ListInterfaces",
    request: {},
    answer: { Interfaces: [CARD_MESSAGE, { name: "lo", mtu: "65536" }, { name: "sit0", hwAddr: "00:00:00:00", mtu: "0" }] },
    result: [CARD, { name: "lo", mac: "", mtu: 65_536, addresses: [] }, { name: "sit0", mac: "00:00:00:00", mtu: 0, addresses: [] }],
  },
  {
    verb: "updateInterface, in the kernel's spelling,",
    run: (client, call) =>
      client.updateInterface(
        { ...CARD, mac: MAC.toUpperCase(), addresses: [CARD.addresses[0] as never, { family: "v6", address: "FD00:0::2/64" }] },
        call,
      ),
    method: "UpdateInterface",
    request: { interface: CARD_MESSAGE },
    answer: CARD_MESSAGE,
    result: CARD,
  },
  {
    verb: "addInterface",
    run: (client, call) => client.addInterface(CARD, call),
    method: "AddInterface",
    request: { interface: CARD_MESSAGE },
    answer: CARD_MESSAGE,
    result: CARD,
  },
  {
    verb: "removeInterface",
    run: (client, call) => client.removeInterface(MAC, call),
    method: "RemoveInterface",
    request: { interface: { device: "", name: "", IPAddresses: [], mtu: "0", hwAddr: MAC, pciAddr: "", type: "", raw_flags: 0 } },
  },
  {
    verb: "listRoutes, a default route of each family among them,",
    run: (client, call) => client.listRoutes(call),
    method: "ListRoutes",
    request: {},
    answer: ROUTES_MESSAGE,
    result: ROUTES,
  },
  {
    verb: "updateRoutes",
    run: (client, call) => client.updateRoutes(ROUTES, call),
    method: "UpdateRoutes",
    request: { routes: ROUTES_MESSAGE },
    answer: { Routes: [{ dest: "default", gateway: "10.0.0.1", device: "net0" }] },
    result: [ROUTES[0]],
  },
  {
    verb: "addArpNeighbors",
    run: (client, call) => client.addArpNeighbors([{ family: "v4", address: "10.0.0.9", device: "net0", mac: MAC }], call),
    method: "AddARPNeighbors",
    request: {
      neighbors: {
        ARPNeighbors: [{ toIPAddress: { family: "v4", address: "10.0.0.9", mask: "" }, device: "net0", lladdr: MAC, state: 128, flags: 0 }],
      },
    },
  },
  { verb: "check", run: (client, call) => client.check(call), method: "Check", request: { service: "" } },
  {
    verb: "reseedRandom",
    run: (client, call) => client.reseedRandom(Buffer.from("seed"), call),
    method: "ReseedRandomDev",
    request: { data: Buffer.from("seed") },
  },
  {
    verb: "setTime",
    run: (client, call) => client.setTime(1_700_000_000_123.5, call),
    method: "SetGuestDateTime",
    request: { Sec: "1700000000", Usec: "123500" },
  },
  {
    verb: "nextOom",
    run: (client, call) => client.nextOom(call),
    method: "GetOOMEvent",
    request: {},
    answer: { container_id: "web" },
    result: "web",
  },
  {
    verb: "probeMemory",
    run: (client, call) => client.probeMemory([4096, 2 ** 40], call),
    method: "MemHotplugByProbe",
    request: { memHotplugProbeAddr: ["4096", "1099511627776"] },
  },
  { verb: "startTracing", run: (client, call) => client.startTracing(call), method: "StartTracing", request: {} },
  { verb: "stopTracing", run: (client, call) => client.stopTracing(call), method: "StopTracing", request: {} },
  {
    verb: "createSandbox with all there is",
    run: (client, call) => {
      const more = {
        dns: ["search x"],
        guestHookPath: "/hooks",
        kernelModules: [{ name: "loop", parameters: ["a=b"] }, { name: "dummy" }],
      };
      return client.createSandbox({ hostname: "h", sandbox: "web", storages: [], ...more }, call);
    },
    method: "CreateSandbox",
    request: {
      hostname: "h",
      dns: ["search x"],
      storages: [],
      sandbox_pidns: false,
      sandbox_id: "web",
      guest_hook_path: "/hooks",
      kernel_modules: [
        { name: "loop", parameters: ["a=b"] },
        { name: "dummy", parameters: [] },
      ],
    },
  },
];

for (const { verb, run, method, request, answer, result } of MAPPINGS) {
  s.test(`${verb} sends ${method} and reads its answer`, async () => {
    await using guest = await grpcGuest(answer ? { [method]: (_, reply) => reply(null, answer) } : {});
    await using client = await connected(guest);
    assert.equal(await run(client, quietCall()), result);
    assert.equal(guest.received.at(-1), { method, request });
  });
}

const LIES: readonly (readonly [string, string, object, (client: AgentClient, call: Call) => Promise<unknown>])[] = [
  ["an interface with a name that moves a cursor", "ListInterfaces", { Interfaces: [{ name: "\u001b[2J", mtu: "1" }] }, list],
  [
    "an interface with a hardware address that is none",
    "ListInterfaces",
    { Interfaces: [{ name: "a", hwAddr: "x".repeat(2 ** 20), mtu: "1" }] },
    list,
  ],
  ["an interface with an MTU that is not exact", "ListInterfaces", { Interfaces: [{ name: "a", mtu: "18446744073709551615" }] }, list],
  [
    "an interface with an address that is none",
    "ListInterfaces",
    { Interfaces: [{ name: "a", IPAddresses: [{ address: "::1", mask: "1" }] }] },
    list,
  ],
  [
    "an address of a family that is none",
    "ListInterfaces",
    { Interfaces: [{ name: "a", IPAddresses: [{ family: 7, address: "1.2.3.4", mask: "1" }] }] },
    list,
  ],
  ["more interfaces than there can be", "ListInterfaces", { Interfaces: Array(257).fill({ name: "a", mtu: "1" }) }, list],
  ["another interface's nonsense after an update", "UpdateInterface", { name: "" }, (client, call) => client.updateInterface(CARD, call)],
  ["a route to nowhere", "ListRoutes", { Routes: [{ dest: "nowhere", device: "a" }] }, (client, call) => client.listRoutes(call)],
  [
    "more routes than there can be",
    "UpdateRoutes",
    { Routes: Array(1025).fill({ device: "a" }) },
    (client, call) => client.updateRoutes([], call),
  ],
  ["a container that cannot be", "GetOOMEvent", { container_id: "../../etc" }, (client, call) => client.nextOom(call)],
];

function list(client: AgentClient, call: Call): Promise<unknown> {
  return client.listInterfaces(call);
}

for (const [what, method, answer, run] of LIES) {
  s.test(`${what} is GUEST_PROTOCOL, said in a line that is short and clean`, async () => {
    await using guest = await grpcGuest({ [method]: (_, reply) => reply(null, answer) });
    await using client = await connected(guest);
    const { message } = await failure("GUEST_PROTOCOL", run(client, quietCall()));
    assert.ok(message.length < 1000 && /^[\x20-\x7e\u2026]+$/.test(message), message.slice(0, 2000));
    await client.check(quietCall());
  });
}

s.test("what cannot be is INVALID_INPUT without a call", async () => {
  await using guest = await grpcGuest();
  await using client = await connected(guest);
  const before = guest.received.length;
  const file = { path: "/run/f", bytes: 1, mode: 0o600, directoryMode: 0o700, uid: 0, gid: 0 };
  const copy = (change: object) => client.copyFile({ ...file, ...change }, [Buffer.from("x")], quietCall());
  const bad: Readonly<Record<string, () => Promise<unknown>>> = {
    "interface.name": () => client.addInterface({ ...CARD, name: "a/b" }, quietCall()),
    mac: () => client.removeInterface("nobody", quietCall()),
    "routes[0].device": () => client.updateRoutes([{ destination: "::/0", device: "a b" }], quietCall()),
    "neighbors[0].mac": () => client.addArpNeighbors([{ family: "v4", address: "1.2.3.4", device: "a", mac: "" }], quietCall()),
    data: () => client.reseedRandom(new Uint8Array(0), quietCall()),
    unixMs: () => client.setTime(-1, quietCall()),
    "addresses[0]": () => client.probeMemory([-1], quietCall()),
    "file.path": () => copy({ path: "/run/../etc/passwd" }),
    "file.bytes": () => copy({ bytes: -1 }),
    "file.mode": () => copy({ mode: 0o100600 }),
    "file.directoryMode": () => copy({ directoryMode: -1 }),
    "file.uid": () => copy({ uid: 2 ** 32 - 1 }),
    "file.gid": () => copy({ gid: 0.5 }),
    content: () => copy({ bytes: 0 }),
  };
  for (const [path, run] of Object.entries(bad)) assert.is((await failure("INVALID_INPUT", run())).data.path, path);
  assert.is(guest.received.length, before);
});

s.test("a file goes in parts of at most 1 MiB, each at its place; an empty one in one, ids above 2^31 as they are", async () => {
  await using guest = await grpcGuest();
  await using client = await connected(guest);
  const content = Buffer.alloc(2 ** 20 + 3, "x");
  const file = { path: "/run/f", bytes: content.length + 1, mode: 0o4755, directoryMode: 0o700, uid: 2 ** 32 - 2, gid: 5 };
  async function* pieces() {
    yield content;
    yield Buffer.alloc(0);
    yield Buffer.from("y");
  }
  await client.copyFile(file, pieces(), quietCall());
  await client.copyFile({ ...file, bytes: 0 }, [], quietCall());
  const sent = guest.received.filter(({ method }) => method === "CopyFile").map(({ request }) => request as Record<string, unknown>);
  assert.equal(
    sent.map(({ offset, data, file_size }) => [offset, (data as Buffer).length, file_size]),
    [
      ["0", 2 ** 20, "1048580"],
      ["1048576", 3, "1048580"],
      ["1048579", 1, "1048580"],
      ["0", 0, "0"],
    ],
  );
  assert.equal([sent[0]?.file_mode, sent[0]?.dir_mode, sent[0]?.uid, sent[0]?.gid], [0o4755, 0o700, -2, 5]);
});

s.test("an interface that is not there is removed with success; an agent that is not well is AGENT_FAILED", async () => {
  let serving = true;
  await using guest = await grpcGuest({
    RemoveInterface: (_, answer) => answer({ code: status.NOT_FOUND, details: "nobody" }),
    Check: (_, answer) => answer(null, { status: serving ? "SERVING" : "NOT_SERVING" }),
  });
  await using client = await connected(guest);
  await client.removeInterface(MAC, quietCall());
  serving = false;
  assert.equal((await failure("AGENT_FAILED", client.check(quietCall()))).data, { method: "Check", status: "NOT_SERVING" });
});

s.run();
