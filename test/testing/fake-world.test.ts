import { truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Agent, Call, Guest, Hypervisor } from "tapvisor/plugin";
import { agentFake } from "tapvisor/plugins/agent-fake";
import { hypervisorFake } from "tapvisor/plugins/hypervisor-fake";
import { FAKE_OPERATIONS, type FakeOperation, quietCall, sharedFakeWorld } from "tapvisor/testing";
import * as assert from "uvu/assert";
import { containerRequest, fakeGuest, providerOf } from "../support/fake-guest.ts";
import { rejects } from "../support/rejects.ts";
import { suite } from "../support/suite.ts";
import { growingGuest, LIMITS } from "./support/growing-guest.ts";

const s = suite("fake world");

/** One call of each operation, possible in this world: a running container `c1`, `c2` created, a share and a disk `spare`. */
async function everyOperation() {
  const w = await growingGuest();
  const { view, share, disk, sizing } = w;
  const { vm } = w.hypervisor.holdings;
  const c1 = await w.running("c1", ["cat"]);
  await w.container("c2", ["true"]);
  const terminal = { container: "c1", exec: "terminal" };
  const exec = { ...containerRequest("c1", ["cat"]).spec.process, terminal: true };
  await w.client.execProcess(terminal, exec, quietCall());
  await share.acquire(w.shareIntent(w.vm, "share-c3"), quietCall());
  await share.acquire(w.shareIntent(w.vm, "spare"), quietCall());
  const spare = await w.diskIntent("spare");
  await sizing.resizeVcpus(3, quietCall());
  await w.client.syncResources({ vcpus: 2 }, quietCall());
  const { guest: spareDisk } = await disk.acquire(spare, quietCall());
  const guest = await providerOf<Guest>(hypervisorFake({ world: w.world }), "guest", "none");
  await w.client.writeStdin(c1, Buffer.from("x"), quietCall());
  const fake = w.world.vm(w.vmIntent.sandbox);
  if (!fake) throw new Error("the VM runs");
  const { network, system } = fake.guest;
  const mac = "02:00:00:00:00:01";
  network.plug("eth0", mac);
  system.canProbe = true;
  const nic = { name: "net0", mac, mtu: 1400, addresses: [] };
  const copied = { path: "/run/tapvisor/file", bytes: 1, mode: 0o600, directoryMode: 0o700, uid: 0, gid: 0 };
  const other = { ...w.vmIntent, sandbox: "other" };
  const { files } = w.client;
  if (!files) throw new Error("the fake agent has files");
  const file = { container: "c1", path: "/etc/passwd" };
  const directory = { container: "c1", path: "/etc" };
  const memory = { kind: "template", file: join(w.rootfs, "../memory") } as const;
  await writeFile(memory.file, "");
  await truncate(memory.file, w.vmIntent.memoryBytes);
  const state = join(w.rootfs, "../state");
  const template = await w.hypervisor.connect(await vm.acquire({ ...w.vmIntent, sandbox: "template", memory }, quietCall()), quietCall());
  const run: Record<FakeOperation, (call: Call) => Promise<unknown>> = {
    "hypervisor.inspectHost": (call) => w.hypervisor.inspectHost(call),
    "hypervisor.fingerprint": async (call) => w.hypervisor.fingerprint?.(call),
    "hypervisor.save": async (call) => template.save?.(state, call),
    "hypervisor.snapshot": async (call) => template.snapshot?.(state, call),
    "hypervisor.connect": (call) => w.hypervisor.connect(w.vm, call),
    "hypervisor.vm.acquire": (call) => vm.acquire(other, call),
    "hypervisor.vm.release": (call) => vm.release({ intent: w.vmIntent, grant: w.vm }, call),
    "hypervisor.share.acquire": (call) => share.acquire(w.shareIntent(w.vm, "more"), call),
    "hypervisor.share.release": (call) => share.release({ intent: w.shareIntent(w.vm, "spare"), grant: undefined }, call),
    "hypervisor.disk.acquire": async (call) => disk.acquire(await w.diskIntent("more", { index: 1 }), call),
    "hypervisor.disk.release": (call) => disk.release({ intent: spare, grant: undefined }, call),
    "hypervisor.size": (call) => sizing.size(call),
    "hypervisor.resizeVcpus": (call) => sizing.resizeVcpus(LIMITS.vcpus, call),
    "hypervisor.resizeMemory": (call) => sizing.resizeMemory(LIMITS.memoryBytes, call),
    "hypervisor.pause": (call) => view.pause(call),
    "hypervisor.resume": (call) => view.resume(call),
    "hypervisor.status": (call) => view.status(call),
    "guest.inspectHost": (call) => guest.inspectHost(call),
    "guest.prepare": (call) => guest.prepare(call),
    "agent.connect": (call) => w.agent.connect(w.target, call),
    "agent.createSandbox": async (call) => {
      await w.client.destroySandbox(quietCall());
      await w.client.createSandbox({ sandbox: "web", hostname: "web", storages: [] }, call);
    },
    "agent.destroySandbox": (call) => w.client.destroySandbox(call),
    "agent.guestDetails": (call) => w.client.guestDetails(call),
    "agent.createContainer": (call) => w.client.createContainer(containerRequest("c3", ["true"]), call),
    "agent.startContainer": (call) => w.client.startContainer("c2", call),
    "agent.removeContainer": (call) => w.client.removeContainer("c1", call),
    "agent.waitProcess": async (call) => {
      await w.client.closeStdin(c1, quietCall());
      await w.client.waitProcess(c1, call);
    },
    "agent.signalProcess": (call) => w.client.signalProcess(c1, 15, true, call),
    "agent.readStdout": (call) => w.client.readStdout(c1, 1, call),
    "agent.readStderr": async (call) => {
      await w.client.closeStdin(c1, quietCall());
      await w.client.readStderr(c1, 1, call);
    },
    "agent.writeStdin": (call) => w.client.writeStdin(c1, Buffer.from("y"), call),
    "agent.closeStdin": (call) => w.client.closeStdin(c1, call),
    "agent.execProcess": (call) => w.client.execProcess({ container: "c1", exec: "more" }, exec, call),
    "agent.resizeTty": (call) => w.client.resizeTty(terminal, { rows: 24, columns: 80 }, call),
    "agent.listProcesses": (call) => w.client.listProcesses("c1", call),
    "agent.pauseContainer": (call) => w.client.pauseContainer("c1", call),
    "agent.resumeContainer": async (call) => {
      await w.client.pauseContainer("c1", quietCall());
      await w.client.resumeContainer("c1", call);
    },
    "agent.updateContainer": (call) => w.client.updateContainer("c1", { pids: { limit: 7 } }, call),
    "agent.statsContainer": (call) => w.client.statsContainer("c1", call),
    "agent.onlineCpuMem": (call) => w.client.onlineCpuMem({ vcpus: 1, cpuOnly: true }, call),
    "agent.syncResources": (call) => w.client.syncResources({ vcpus: 1 }, call),
    "agent.findDisk": (call) => w.client.findDisk(spareDisk, call),
    "agent.releaseDisk": (call) => w.client.releaseDisk(spareDisk, call),
    "agent.listInterfaces": (call) => w.client.listInterfaces(call),
    "agent.updateInterface": (call) => w.client.updateInterface(nic, call),
    "agent.addInterface": (call) => w.client.addInterface(nic, call),
    "agent.removeInterface": (call) => w.client.removeInterface(mac, call),
    "agent.listRoutes": (call) => w.client.listRoutes(call),
    "agent.updateRoutes": (call) => w.client.updateRoutes([{ destination: "10.0.0.0/8", device: "eth0" }], call),
    "agent.addArpNeighbors": (call) => w.client.addArpNeighbors([{ family: "v4", address: "10.0.0.1", device: "eth0", mac }], call),
    "agent.check": (call) => w.client.check(call),
    "agent.reseedRandom": (call) => w.client.reseedRandom(Buffer.from("x"), call),
    "agent.setTime": (call) => w.client.setTime(1, call),
    "agent.nextOom": (call) => {
      fake.guest.oomKill("c1");
      return w.client.nextOom(call);
    },
    "agent.probeMemory": (call) => w.client.probeMemory([0], call),
    "agent.startTracing": (call) => w.client.startTracing(call),
    "agent.stopTracing": async (call) => {
      await w.client.startTracing(quietCall());
      await w.client.stopTracing(call);
    },
    "agent.copyFile": (call) => w.client.copyFile(copied, [Buffer.from("x")], call),
    "agent.warmUp": async (call) => {
      await w.client.destroySandbox(quietCall());
      await w.client.identity?.warmUp(call);
    },
    "agent.prepareToBeSaved": async (call) => {
      await w.client.destroySandbox(quietCall());
      await w.client.identity?.prepareToBeSaved(call);
    },
    "agent.renew": (call) =>
      w.client.identity?.renew({ entropy: new Uint8Array(64), machineId: "0".repeat(32), hostname: "box" }, call) ?? Promise.resolve(),
    "agent.statFile": (call) => files.stat(file, { follow: true }, call),
    "agent.listDirectory": (call) => files.list(directory, { after: "", limit: 10 }, call),
    "agent.readFile": (call) => files.read(file, { offset: 0, length: 1 }, call),
    "agent.writeFile": (call) => files.write(file, { mode: "replace", offset: 0, data: Buffer.from("x"), last: true }, call),
    "agent.discardFile": (call) => files.discard(file, "none", call),
    "agent.makeDirectory": (call) => files.makeDirectory({ container: "c1", path: "/new" }, { recursive: false }, call),
    "agent.makeLink": (call) => files.makeLink({ container: "c1", path: "/new" }, { target: "/etc", hard: false }, call),
    "agent.setAttributes": (call) => files.setAttributes(file, { mode: 0o600 }, call),
    "agent.removeFile": (call) => files.remove(file, { recursive: false }, call),
    "agent.renameFile": (call) => files.rename(file, "/etc/other", call),
    "agent.watchDirectory": (call) => files.watch(directory, call),
    "agent.nextFileEvents": async (call) => {
      const watch = await files.watch(directory, quietCall());
      await files.setAttributes(file, { mode: 0o600 }, quietCall());
      await files.nextEvents("c1", watch, call);
    },
    "agent.unwatchDirectory": (call) => files.unwatch("c1", "none", call),
  };
  return { ...w, run };
}

/** Those that change the world, so that "before" and "after" can be told apart by its snapshot. */
const CHANGING: ReadonlySet<FakeOperation> = new Set([
  "hypervisor.vm.acquire",
  "hypervisor.vm.release",
  "hypervisor.share.acquire",
  "hypervisor.share.release",
  "hypervisor.disk.acquire",
  "hypervisor.disk.release",
  "hypervisor.resizeVcpus",
  "hypervisor.resizeMemory",
  "hypervisor.pause",
  "agent.destroySandbox",
  "agent.createContainer",
  "agent.removeContainer",
  "agent.signalProcess",
  "agent.execProcess",
  "agent.resizeTty",
  "agent.pauseContainer",
  "agent.updateContainer",
  "agent.onlineCpuMem",
  "agent.syncResources",
  "agent.updateInterface",
  "agent.addInterface",
  "agent.updateRoutes",
  "agent.addArpNeighbors",
  "agent.copyFile",
]);

for (const operation of FAKE_OPERATIONS) {
  s.test(`${operation} works, is logged, and fails as it is told before and after its effect`, async () => {
    await using plain = await everyOperation();
    await plain.run[operation](quietCall());
    assert.is(plain.world.calls.filter((call) => call.operation === operation && call.outcome === "done").length > 0, true);

    await using early = await everyOperation();
    const mine = new Error("mine");
    early.world.failNext(operation, { when: "before", error: mine });
    const before = early.world.snapshot();
    assert.is(await early.run[operation](quietCall()).catch((error: unknown) => error), mine);
    if (CHANGING.has(operation)) assert.equal(early.world.snapshot(), before);
    assert.equal(early.world.unusedFaults, []);
    assert.is(early.world.calls.findLast((call) => call.operation === operation)?.outcome, "failed");

    await using late = await everyOperation();
    late.world.failNext(operation, { when: "after" });
    const unchanged = late.world.snapshot();
    const error = await late.run[operation](quietCall()).catch((reason: unknown) => reason);
    assert.match(String(error), `a fault was injected after it`);
    if (CHANGING.has(operation)) assert.not.equal(late.world.snapshot(), unchanged);
  });

  s.test(`${operation} hangs as it is told until its signal fires`, async () => {
    await using w = await everyOperation();
    w.world.failNext(operation, { when: "before", hang: true });
    await rejects(w.run[operation](quietCall({ timeoutMs: 30 })), "ABORTED");
    assert.equal(w.world.unusedFaults, []);
  });
}

s.test("faults strike in the order they were given, each once, and those that did not are told", async () => {
  await using w = await fakeGuest();
  const [first, second] = [new Error("first"), new Error("second")];
  w.world.failNext("agent.guestDetails", { when: "before", error: first });
  w.world.failNext("agent.guestDetails", { when: "after", error: second });
  const details = () => w.client.guestDetails(quietCall()).catch((error: unknown) => error);
  assert.is(await details(), first);
  assert.equal(w.world.unusedFaults, ["agent.guestDetails"]);
  assert.is(await details(), second);
  assert.is(((await details()) as { agentVersion: string }).agentVersion, "fake");
  assert.equal(w.world.unusedFaults, []);
});

s.test("connections that failed after they were made are not kept", async () => {
  await using w = await fakeGuest();
  const before = w.world.snapshot();
  w.world.failNext("agent.connect", { when: "after" });
  w.world.failNext("hypervisor.connect", { when: "after" });
  await rejects(w.agent.connect(w.target, quietCall()), "AGENT_FAILED");
  await rejects(w.hypervisor.connect(w.vm, quietCall()), "VM_COMMAND_FAILED");
  assert.equal(w.world.snapshot(), before);
});

s.test("a snapshot does not change with the world", async () => {
  await using w = await fakeGuest();
  const before = w.world.snapshot();
  const copy = JSON.stringify(before);
  await w.container("c1", ["sleep", "infinity"]);
  assert.is(JSON.stringify(before), copy);
  assert.not.equal(w.world.snapshot(), before);
  assert.equal(w.world.snapshot().vms[0]?.guest.containers[0]?.state, "running");
});

s.test("killing or cutting a VM that is not there is NOT_FOUND", async () => {
  await using w = await fakeGuest();
  for (const act of [() => w.world.killVm("none"), () => w.world.loseAgent("none")]) {
    await rejects(Promise.resolve().then(act), "NOT_FOUND");
  }
});

s.test("fakes that were given no world share one", async () => {
  await using w = await fakeGuest();
  const hypervisor = await providerOf<Hypervisor>(hypervisorFake(), "hypervisor", "fake");
  const agent = await providerOf<Agent>(agentFake(), "agent", "fake");
  const intent = w.vmIntent("shared");
  const grant = await hypervisor.holdings.vm.acquire(intent, quietCall());
  try {
    const client = await agent.connect({ sandbox: "shared", endpoint: grant.agentEndpoint, runDirectory: "/" }, quietCall());
    await client.close();
    assert.equal(
      sharedFakeWorld()
        .snapshot()
        .vms.map(({ sandbox }) => sandbox),
      ["shared"],
    );
  } finally {
    await hypervisor.holdings.vm.release({ intent, grant }, quietCall());
  }
  assert.equal(sharedFakeWorld().snapshot().vms, []);
});

s.run();
