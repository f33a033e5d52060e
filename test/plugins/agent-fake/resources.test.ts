import { MiB } from "tapvisor/plugin";
import { quietCall } from "tapvisor/testing";
import * as assert from "uvu/assert";
import { containerRequest } from "../../support/fake-guest.ts";
import { rejects } from "../../support/rejects.ts";
import { suite } from "../../support/suite.ts";
import { BOOT, growingGuest, LIMITS } from "../../testing/support/growing-guest.ts";

const s = suite("agent-fake resources");

const status = async (work: Promise<unknown>) => (await rejects(work, "AGENT_FAILED")).data.status;

s.test("limits are those of the specification until they are updated, field by field", async () => {
  await using w = await growingGuest();
  const request = containerRequest("c1", ["cat"]);
  const resources = { memory: { limit: 64 * MiB, swap: 128 * MiB }, cpu: { shares: 512 } };
  await w.container("c1", ["cat"], { spec: { ...request.spec, linux: { ...request.spec.linux, resources } } });
  const limits = () => w.snapshot().guest.containers[0]?.limits;
  assert.equal(limits(), resources);
  await w.client.updateContainer("c1", { memory: { limit: 32 * MiB }, pids: { limit: 9 } }, quietCall());
  await w.client.startContainer("c1", quietCall());
  await w.client.updateContainer("c1", { cpu: { quota: 50_000, period: 100_000 } }, quietCall());
  assert.equal(limits(), {
    memory: { limit: 32 * MiB, swap: 128 * MiB },
    cpu: { shares: 512, quota: 50_000, period: 100_000 },
    pids: { limit: 9 },
  });
});

s.test("limits that no kernel takes are INVALID_ARGUMENT, and so is a container with them", async () => {
  await using w = await growingGuest();
  await w.container("c1", ["cat"]);
  const { limits } = w.snapshot().guest.containers[0] ?? {};
  for (const wrong of [
    { memory: { limit: -2 } },
    { memory: { reservation: 0.5 } },
    { cpu: { period: 1 } },
    { cpu: { period: 2_000_000 } },
    { cpu: { quota: 10 } },
    { cpu: { cpus: "0-" } },
    { memory: { limit: 64 * MiB, swap: 32 * MiB } },
    { memory: { swap: 32 * MiB } },
    { pids: { limit: Number.NaN } },
  ]) {
    assert.is(await status(w.client.updateContainer("c1", { pids: { limit: 3 }, ...wrong }, quietCall())), "INVALID_ARGUMENT");
  }
  assert.equal(w.snapshot().guest.containers[0]?.limits, limits);
  const { spec } = containerRequest("c2", ["cat"]);
  const resources = { cpu: { period: 1 } };
  const creating = w.container("c2", ["cat"], { spec: { ...spec, linux: { ...spec.linux, resources } } });
  assert.is(await status(creating), "INVALID_ARGUMENT");
});

s.test("a limit below what a container uses is FAILED_PRECONDITION, and huge pages are set by their size", async () => {
  await using w = await growingGuest();
  await w.running("c1", ["cat"]);
  const { memory } = await w.client.statsContainer("c1", quietCall());
  w.world.setStats("web", "c1", { memory: { ...memory, usage: { ...memory.usage, bytes: 48 * MiB } } });
  const update = (limit: number) => w.client.updateContainer("c1", { memory: { limit } }, quietCall());
  assert.is(await status(update(32 * MiB)), "FAILED_PRECONDITION");
  await update(48 * MiB);
  for (const [pageSize, limit] of [
    ["2MB", 4 * MiB],
    ["1GB", 0],
    ["2MB", 8 * MiB],
  ] as const) {
    await w.client.updateContainer("c1", { hugepageLimits: [{ pageSize, limit }] }, quietCall());
  }
  assert.equal(w.snapshot().guest.containers[0]?.limits, {
    memory: { limit: 48 * MiB },
    hugepageLimits: [
      { pageSize: "2MB", limit: 8 * MiB },
      { pageSize: "1GB", limit: 0 },
    ],
  });
});

s.test("stats show the limits, a process that runs, time that passes between two looks, and what the test sets", async () => {
  await using w = await growingGuest();
  await w.container("c1", ["cat"]);
  const stats = () => w.client.statsContainer("c1", quietCall());
  const created = await stats();
  assert.equal([created.cpu.totalUs, created.memory.usage.bytes, created.pids.current], [0, 0, 0]);
  assert.is(created.memory.usage.limitBytes, undefined);
  await w.client.startContainer("c1", quietCall());
  await w.client.updateContainer("c1", { memory: { limit: 64 * MiB }, pids: { limit: 5 } }, quietCall());
  const [first, second] = [await stats(), await stats()];
  assert.ok(second.cpu.totalUs > first.cpu.totalUs);
  assert.equal([second.memory.usage.limitBytes, second.pids], [64 * MiB, { current: 1, limit: 5 }]);
  w.world.setStats("web", "c1", { pids: { current: 42 } });
  assert.equal((await stats()).pids, { current: 42 });
  assert.is((await stats()).memory.usage.limitBytes, 64 * MiB, "the other parts are still made up");
});

s.test("a container that runs out of memory ends with 137, and its stats count it also afterwards", async () => {
  await using w = await growingGuest();
  const process = await w.running("c1", ["sleep", "infinity"]);
  w.world.oomKill("web", "c1");
  assert.is(await w.client.waitProcess(process, quietCall()), 137);
  w.world.oomKill("web", "c1"); // there is nothing left to kill
  const { memory } = await w.client.statsContainer("c1", quietCall());
  assert.equal([memory.oomKills, memory.counters.oom_kill], [1, 1]);
  for (const act of [() => w.world.oomKill("web", "none"), () => w.world.setStats("none", "c1", {})]) {
    await rejects(Promise.resolve().then(act), "NOT_FOUND");
  }
});

s.test("the guest's memory follows the VM's, less what its kernel keeps", async () => {
  await using w = await growingGuest();
  const memory = async () => (await w.client.syncResources({}, quietCall()))?.memoryBytes ?? 0;
  const before = await memory();
  assert.ok(before > 0 && before < BOOT.memoryBytes);
  await w.sizing.resizeMemory(LIMITS.memoryBytes, quietCall());
  assert.is((await memory()) - before, LIMITS.memoryBytes - BOOT.memoryBytes);
});

s.test("onlineCpuMem() brings at most so many vCPUs online, and no more than there are", async () => {
  await using w = await growingGuest();
  await w.sizing.resizeVcpus(4, quietCall());
  await w.client.onlineCpuMem({ vcpus: 2, cpuOnly: true }, quietCall());
  assert.is(w.snapshot().onlineVcpus, 3);
  await w.client.onlineCpuMem({ vcpus: 9, cpuOnly: false }, quietCall());
  assert.is(w.snapshot().onlineVcpus, 4);
});

s.test("a guest runs on no more vCPUs than are plugged in, and on one at least", async () => {
  await using w = await growingGuest();
  assert.is(await status(w.client.syncResources({ vcpus: 2 }, quietCall())), "FAILED_PRECONDITION");
  assert.is(await status(w.client.syncResources({ vcpus: 0 }, quietCall())), "INVALID_ARGUMENT");
  assert.is(w.snapshot().onlineVcpus, 1);
});

s.test("a plain Kata guest cannot park vCPUs nor let go of disks, and says nothing about either", async () => {
  await using w = await growingGuest({ extras: false });
  await w.sizing.resizeVcpus(2, quietCall());
  assert.is(await w.client.syncResources({ vcpus: 2 }, quietCall()), undefined);
  assert.is(w.snapshot().onlineVcpus, 1);
  await w.client.onlineCpuMem({ vcpus: 1, cpuOnly: true }, quietCall());
  assert.is(w.snapshot().onlineVcpus, 2);
  const { guest } = await w.disk.acquire(await w.diskIntent("data"), quietCall());
  const devices = [{ disk: guest, containerPath: "/dev/data", permissions: "rw" }];
  await w.running("c1", ["cat"], { devices });
  assert.is(await w.client.findDisk(guest, quietCall()), undefined);
  await w.client.releaseDisk(guest, quietCall());
});

s.run();
