import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { status } from "@grpc/grpc-js";
import { guestServiceDefinition } from "tapvisor/protocol";
import * as assert from "uvu/assert";
import { runOn } from "../../../../plugins/guest-linux/agent/cpu/vcpus.ts";
import { lateModules, type Modules } from "../../../../plugins/guest-linux/agent/modules.ts";
import { suite } from "../../../support/suite.ts";
import { tempDirectory } from "../../../support/temp.ts";
import { type FakeGuest, fakeGuest, refusal } from "./support/fake-guest.ts";
import { fakeSys } from "./support/fake-sys.ts";

const s = suite("guest agent: vCPUs, memory and modules");

async function world(...online: readonly boolean[]) {
  const guest = await fakeGuest();
  const sys = fakeSys(guest.paths);
  await sys.vcpus(...online);
  await sys.put(
    join(guest.paths.proc, "meminfo"),
    "MemTotal:         524288 kB\nMemFree:               1 kB\nMemAvailable:      1024 kB\n",
  );
  const cpus = join(guest.paths.sys, "devices/system/cpu");
  /** Whether each vCPU but the first is online. */
  const read = async () =>
    Promise.all(online.map(async (_, index) => (await readFile(join(cpus, `cpu${index + 1}/online`), "utf8")).trim()));
  return { guest, sys, cpus, read, [Symbol.asyncDispose]: () => guest[Symbol.asyncDispose]() };
}

const sync = (guest: FakeGuest, vcpus: number, options = {}) => guest.raw(guestServiceDefinition.SyncResources, { vcpus }, options);

s.test("SyncResources runs on exactly so many vCPUs, the lowest ones, and says what there is", async () => {
  await using here = await world(false, true, true);
  const memory = { memory_bytes: String(512 * 2 ** 20), available_bytes: String(2 ** 20) };
  assert.equal(await sync(here.guest, 0), { online_vcpus: 3, ...memory });
  assert.equal(await here.read(), ["0", "1", "1"], "nothing is changed without a number");
  assert.equal(await sync(here.guest, 2), { online_vcpus: 2, ...memory });
  assert.equal(await here.read(), ["1", "0", "0"]);
  assert.equal(await sync(here.guest, 4), { online_vcpus: 4, ...memory });
  assert.equal(await sync(here.guest, 1), { online_vcpus: 1, ...memory });
  assert.equal(await here.read(), ["0", "0", "0"]);
});

s.test("vCPUs come online the lowest first and are parked the highest first, and one that is as wanted is left alone", async () => {
  await using here = await world(false, false, true, true, true);
  const order: number[] = [];
  const { watch } = await import("node:fs");
  const watchers = [1, 2, 3, 4, 5].map((index) =>
    watch(join(here.cpus, `cpu${index}/online`), () => {
      if (order.at(-1) !== index) order.push(index);
    }),
  );
  await runOn(here.guest.paths.sys, 4, new AbortController().signal);
  while (order.length < 4) await new Promise((resolve) => setTimeout(resolve, 5));
  for (const watcher of watchers) watcher.close();
  assert.equal(order, [1, 2, 5, 4]);
});

s.test("a vCPU that was just plugged in is waited for; more than there are is FAILED_PRECONDITION and changes nothing", async () => {
  await using here = await world(false);
  await mkdir(join(here.cpus, "cpu2")); // its switch comes later
  const synced = sync(here.guest, 3);
  setTimeout(() => void here.sys.vcpus(false, false), 50);
  assert.is((await synced).online_vcpus, 3);
  assert.is(await readFile(join(here.cpus, "cpu2/online"), "utf8"), "1");
  const refused = await refusal(sync(here.guest, 4));
  assert.equal([refused.status, refused.text], [status.FAILED_PRECONDITION, "Cannot run on 4 vCPUs: the guest has 3"]);
  assert.equal(await here.read(), ["1"]);
});

s.test("OnlineCPUMem brings at most so many vCPUs online, the lowest ones, and takes what there is", async () => {
  await using here = await world(false, false, false);
  const online = (nb_cpus: number) => here.guest.call("OnlineCPUMem", { wait: true, nb_cpus, cpu_only: true });
  await online(0);
  assert.equal(await here.read(), ["0", "0", "0"]);
  await online(2);
  assert.equal(await here.read(), ["1", "1", "0"]);
  await online(5);
  assert.equal(await here.read(), ["1", "1", "1"]);
});

s.test("OnlineCPUMem brings memory online so that it can be taken out again, unless only vCPUs are meant", async () => {
  await using here = await world();
  const block = (name: string) => join(here.guest.paths.sys, "devices/system/memory", name, "state");
  const states = { memory0: "online", memory32: "offline", memory33: "offline", power: "offline" };
  for (const [name, state] of Object.entries(states)) await here.sys.put(block(name), `${state}\n`);
  const read = async () => Promise.all(Object.keys(states).map(async (name) => (await readFile(block(name), "utf8")).trim()));
  await here.guest.call("OnlineCPUMem", { wait: true, nb_cpus: 0, cpu_only: true });
  assert.equal(await read(), Object.values(states));
  await here.guest.call("OnlineCPUMem", { wait: true, nb_cpus: 0, cpu_only: false });
  assert.equal(await read(), ["online", "online_movable", "online_movable", "offline"]);
});

s.test("memory blocks that the kernel refuses are named, and the others come online; without wait that is only logged", async () => {
  await using here = await world();
  const block = (name: string) => join(here.guest.paths.sys, "devices/system/memory", name, "state");
  await mkdir(block("memory1"), { recursive: true });
  await here.sys.put(block("memory2"), "offline\n");
  const refused = await refusal(here.guest.call("OnlineCPUMem", { wait: true, nb_cpus: 0, cpu_only: false }));
  assert.match(refused.text, "Cannot bring all memory online: memory1");
  assert.is(await readFile(block("memory2"), "utf8"), "online_movable");
  await here.guest.call("OnlineCPUMem", { wait: false, nb_cpus: 0, cpu_only: false });
  while (here.guest.logged.length < 2) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.match(here.guest.logged.at(-1) ?? "", "memory1");
});

async function modules(index: Readonly<Record<string, readonly string[]>> | undefined, run: (files: readonly string[]) => Promise<string>) {
  const directory = await tempDirectory();
  const path = join(directory.path, "modules.json");
  if (index) await writeFile(path, JSON.stringify(index));
  const logged: string[] = [];
  const log = { warn: () => {}, error: (message: string) => void logged.push(message) };
  const late = lateModules(path, (args) => run(args.slice(args.lastIndexOf("sh") + 1)), log);
  return { late, logged, [Symbol.asyncDispose]: directory[Symbol.asyncDispose] };
}

s.test("each group of modules is loaded once, in order, each file once", async () => {
  const runs: (readonly string[])[] = [];
  const index = { virtio_net: ["/n.ko"], sd_mod: ["/s.ko", "/d.ko"], virtio_mem: ["/m.ko"], virtio_scsi: ["/s.ko", "/v.ko"] };
  await using here = await modules(index, async (files) => String(runs.push(files)));
  await here.late.loadAhead();
  assert.equal(runs, [["/m.ko"]], "what disks need is not loaded at once");
  await Promise.all([here.late.disks(), here.late.disks(), here.late.memory()]);
  assert.equal(runs, [["/m.ko"], ["/s.ko", "/v.ko", "/d.ko"]]);
  assert.equal(here.logged, []);
});

s.test("what disks need is loaded after a while, needed or not", async () => {
  let load = () => {};
  const loaded = new Promise<void>((resolve) => {
    load = resolve;
  });
  await using here = await modules({ sd_mod: ["/d.ko"] }, async () => {
    load();
    return "";
  });
  await here.late.loadAhead();
  await loaded;
});

s.test("a module that cannot be loaded is logged, and a kernel without an index has none to load", async () => {
  const failing = async () => {
    throw new Error("insmod: can't insert");
  };
  await using none = await modules(undefined, failing);
  await none.late.disks();
  assert.equal(none.logged, []);
  await using bad = await modules({ sd_mod: ["/x.ko"] }, failing);
  await bad.late.disks();
  assert.equal(bad.logged, ["Cannot load kernel modules: insmod: can't insert"]);
});

s.test(
  "the modules are loaded after CreateSandbox has been answered; a container does not wait for them, what needs them does",
  async () => {
    await using here = await world();
    let ahead = 0;
    let release = () => {};
    const loaded = new Promise<void>((resolve) => {
      release = resolve;
    });
    const nothing = async () => {};
    const held: Modules = {
      memory: () => loaded,
      disks: () => loaded,
      network: nothing,
      load: nothing,
      loadAhead: async () => void ahead++,
      loadAll: nothing,
    };
    Object.assign(here.guest.agent, { modules: held });
    await mkdir(here.guest.paths.dev);
    await here.guest.call("CreateSandbox", { sandbox_id: "s" });
    await here.guest.call("CreateContainer", { container_id: "c", OCI: here.guest.spec(["true"]) });
    assert.is(ahead, 1);
    await here.sys.scsiDisk("0:3", "sda");
    await here.sys.pciDisk("10", "05", "vda");
    const { FindDisk, ReleaseDisk } = guestServiceDefinition;
    const waiting = [
      here.guest.raw(FindDisk, { driver: "scsi", address: "0:3" }),
      here.guest.raw(ReleaseDisk, { driver: "scsi", address: "0:4" }),
      sync(here.guest, 0),
    ];
    let answered = 0;
    for (const each of waiting) void each.then(() => answered++);
    await here.guest.raw(FindDisk, { driver: "blk", address: "10/05" });
    await here.guest.call("RemoveContainer", { container_id: "c" });
    assert.is(answered, 0);
    release();
    await Promise.all(waiting);
  },
);

s.run();
