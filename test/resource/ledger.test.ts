import { definePlugin, isTapvisorError, type Sandbox } from "tapvisor";
import * as assert from "uvu/assert";
import { MiB } from "../../src/base/units.ts";
import { type FakeEngine, type FakeEngineOptions, fakeEngine } from "../support/fake-engine.ts";
import { quiet } from "../support/fault-case.ts";
import { disagreements } from "../support/ledger.ts";
import { suite } from "../support/suite.ts";

const s = suite("resource ledger");

interface Scene extends AsyncDisposable {
  readonly fake: FakeEngine;
  readonly sandbox: Sandbox;
  run(id: string, resources: object, command?: readonly string[]): Promise<Awaited<ReturnType<Sandbox["run"]>>>;
  /** What the VM has: vCPUs that run, and MiB. */
  has(): string;
}

async function scene({ sandbox: asked, ...options }: FakeEngineOptions & { readonly sandbox?: object } = {}): Promise<Scene> {
  const fake = await fakeEngine(options);
  const sandbox = await fake.engine.runSandbox({ id: "box", vcpus: 1, memory: "512MiB", ...asked });
  return {
    fake,
    sandbox,
    run: (id, resources, command = ["sleep", "60"]) => sandbox.run({ id, rootfs: fake.rootfs, command, resources }),
    has() {
      const vm = fake.world.snapshot().vms[0];
      return `${vm?.onlineVcpus} vCPUs, ${(vm?.memoryBytes ?? 0) / MiB} MiB`;
    },
    async [Symbol.asyncDispose]() {
      await quiet();
      assert.equal(disagreements(await fake.everything()), []);
      await fake[Symbol.asyncDispose]();
    },
  };
}

async function failureOf(work: Promise<unknown>) {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  assert.ok(isTapvisorError(error), String(error));
  return error;
}

s.test("the VM has what it booted with and what each container asks for, from its creation on", async () => {
  await using it = await scene();
  assert.is(it.has(), "1 vCPUs, 512 MiB");
  const web = await it.sandbox.createContainer({
    id: "web",
    rootfs: it.fake.rootfs,
    command: ["sleep", "60"],
    resources: { vcpus: 1.5, memory: "200MiB" },
  });
  assert.is(it.has(), "3 vCPUs, 768 MiB");
  await it.run("db", { vcpus: 1, memory: "56MiB" });
  assert.is(it.has(), "4 vCPUs, 768 MiB", "both fit in the same blocks of memory");
  const { base, requests, target, granted, confirmed, limits } = await it.sandbox.resources();
  assert.equal(base, { vcpus: 1, memoryBytes: 512 * MiB });
  assert.equal(requests, { web: { vcpus: 2, memoryBytes: 200 * MiB }, db: { vcpus: 1, memoryBytes: 56 * MiB } });
  assert.equal(target, { vcpus: 4, memoryBytes: 768 * MiB });
  assert.equal(granted, target);
  assert.is(confirmed?.vcpus, 4);
  assert.is(limits.vcpus, 16);
  await web.delete();
  assert.is(it.has(), "2 vCPUs, 640 MiB");
});

for (const order of [
  ["a", "b", "c"],
  ["a", "c", "b"],
  ["b", "a", "c"],
  ["b", "c", "a"],
  ["c", "a", "b"],
  ["c", "b", "a"],
]) {
  s.test(`three containers stopped in the order ${order.join(", ")} each give back their own and nothing else`, async () => {
    await using it = await scene();
    const asks: Record<string, { vcpus: number; memory: string }> = {
      a: { vcpus: 1, memory: "128MiB" },
      b: { vcpus: 2, memory: "256MiB" },
      c: { vcpus: 3, memory: "384MiB" },
    };
    for (const [id, resources] of Object.entries(asks)) await it.run(id, resources);
    assert.is(it.has(), "7 vCPUs, 1280 MiB");
    let [vcpus, mebibytes] = [7, 1280];
    for (const id of order) {
      await it.sandbox.container(id).stop();
      vcpus -= asks[id]?.vcpus ?? 0;
      mebibytes -= Number.parseInt(asks[id]?.memory ?? "", 10);
      assert.is(it.has(), `${vcpus} vCPUs, ${mebibytes} MiB`);
    }
    assert.is(it.has(), "1 vCPUs, 512 MiB");
  });
}

s.test("a container that ends by itself gives its share back, and has it again when it is started anew", async () => {
  await using it = await scene();
  it.fake.world.programs.once = () => 0;
  const web = await it.run("web", { vcpus: 2, memory: "128MiB" }, ["once"]);
  await web.wait();
  await quiet();
  assert.is(it.has(), "1 vCPUs, 512 MiB");
  assert.is(web.state, "stopped");
  it.fake.world.programs.once = ({ signal }) => new Promise((resolve) => signal.addEventListener("abort", () => resolve(0)));
  await web.start();
  assert.is(it.has(), "3 vCPUs, 640 MiB");
});

s.test("a container that could not be created takes nothing from the others", async () => {
  await using it = await scene();
  await it.run("web", { vcpus: 2, memory: "128MiB" });
  it.fake.world.failNext("agent.createContainer", { when: "after" });
  await failureOf(it.run("bad", { vcpus: 3, memory: "1GiB" }));
  assert.is(it.has(), "3 vCPUs, 640 MiB");
  it.fake.world.failNext("hypervisor.resizeVcpus", { when: "before" });
  await failureOf(it.run("worse", { vcpus: 3, memory: "1GiB" }));
  assert.is(it.has(), "3 vCPUs, 640 MiB");
});

s.test("vCPUs that the hypervisor cannot all give: the operation fails, what was given is taken back", async () => {
  await using it = await scene();
  it.fake.world.limitVcpus("box", 3);
  const error = await failureOf(it.run("web", { vcpus: 4 }));
  assert.is(error.code, "VM_LIMIT");
  assert.equal(error.data, { what: "vcpus", wanted: 5, available: 3 });
  assert.is(it.has(), "1 vCPUs, 512 MiB");
});

s.test("more vCPUs than the VM may have are clamped, and the ledger says so", async () => {
  await using it = await scene({ sandbox: { maxVcpus: 2 } });
  await it.run("web", { vcpus: 4 });
  assert.is(it.has(), "2 vCPUs, 512 MiB");
  const { target, clampedFrom, requests } = await it.sandbox.resources();
  assert.is(clampedFrom, 5);
  assert.is(target.vcpus, 2);
  assert.is(requests.web?.vcpus, 4);
});

s.test("more memory than the VM may have is refused with the totals, and nothing has changed", async () => {
  await using it = await scene({ sandbox: { maxMemory: "1GiB" } });
  await it.run("web", { memory: "256MiB" });
  const error = await failureOf(it.run("big", { memory: "300MiB" }));
  assert.is(error.code, "VM_LIMIT");
  assert.equal(error.data, { what: "memory", wanted: 1152 * MiB, available: 1024 * MiB });
  assert.match(error.message, "it booted with 512MiB and can have at most 1GiB");
  assert.is(it.has(), "1 vCPUs, 768 MiB");
});

s.test("memory that the guest does not give back is no failure: the ledger shows it, and it is asked for again", async () => {
  await using it = await scene();
  const web = await it.run("web", { memory: "512MiB" });
  it.fake.world.keepMemory("box", 768 * MiB);
  await web.stop();
  const kept = await it.sandbox.resources();
  assert.is(kept.target.memoryBytes, 512 * MiB);
  assert.is(kept.granted.memoryBytes, 768 * MiB);
  it.fake.world.keepMemory("box", 0);
  await web.start();
  await web.stop();
  assert.is((await it.sandbox.resources()).granted.memoryBytes, 512 * MiB);
});

s.test(
  "memory that the guest uses is not asked back, since it would kill what uses it; the rest is, and all when it is free again",
  async () => {
    await using it = await scene();
    const web = await it.run("web", { memory: "512MiB" });
    it.fake.world.useMemory("box", 700 * MiB);
    await web.stop();
    const kept = await it.sandbox.resources();
    assert.is(kept.granted.memoryBytes, 896 * MiB, "1 GiB less the block that can be spared");
    assert.is(it.fake.world.vm("box")?.state, "running");
    it.fake.world.useMemory("box", 0);
    await web.start();
    await web.stop();
    assert.is((await it.sandbox.resources()).granted.memoryBytes, 512 * MiB);
  },
);

s.test("vCPUs that cannot be unplugged are parked, and used again first", async () => {
  await using it = await scene({ preset: { hypervisor: { vcpuRemoval: "park" } } });
  const web = await it.run("web", { vcpus: 3 });
  await web.stop();
  const { granted, parkedVcpus, confirmed } = await it.sandbox.resources();
  assert.equal([granted.vcpus, parkedVcpus, confirmed?.vcpus], [1, 3, 1]);
  await it.run("db", { vcpus: 2 });
  assert.is(it.has(), "3 vCPUs, 512 MiB");
  assert.is(it.fake.world.snapshot().vms[0]?.vcpus, 4);
  assert.is((await it.sandbox.resources()).parkedVcpus, 1);
});

s.test("a guest that can only bring vCPUs online, as Kata's, is asked for that", async () => {
  const fake = await fakeEngine({ preset: { hypervisor: { vcpuRemoval: "unplug" }, agent: { extras: false } } });
  const sandbox = await fake.engine.runSandbox({ id: "box" });
  const web = await sandbox.run({ id: "web", rootfs: fake.rootfs, command: ["sleep", "60"], resources: { vcpus: 2, memory: "128MiB" } });
  assert.ok(fake.world.calls.some(({ operation }) => operation === "agent.onlineCpuMem"));
  const { granted, confirmed } = await sandbox.resources();
  assert.equal([granted.vcpus, confirmed], [3, undefined]);
  await web.stop();
  assert.is((await sandbox.resources()).granted.vcpus, 1);
  await fake[Symbol.asyncDispose]();
});

s.test("a VM that keeps its size, by its hypervisor or by choice, takes containers that fit in it and no others", async () => {
  for (const options of [{ preset: { hypervisor: { resize: false } } }, { sandbox: { sizing: "static" } }]) {
    await using it = await scene({ ...options, sandbox: { vcpus: 2, ...options.sandbox } });
    await it.run("web", { vcpus: 2, memory: "512MiB" });
    assert.is(it.has(), "2 vCPUs, 512 MiB");
    const error = await failureOf(it.run("big", { vcpus: 3 }));
    assert.is(error.code, "UNSUPPORTED");
    assert.match(error.message, "keeps the size it booted with, 2");
    const container = it.sandbox.container("web");
    await container.update({ vcpus: 1 });
    assert.is((await failureOf(container.update({ memory: "1GiB" }))).code, "UNSUPPORTED");
  }
});

s.test("a static sandbox has the size that a pod's runtime tells in annotations, on top of its own", async () => {
  const annotations = {
    "io.kubernetes.cri.sandbox-cpu-quota": "250000",
    "io.kubernetes.cri.sandbox-cpu-period": "100000",
    "io.kubernetes.cri.sandbox-memory": String(300 * MiB),
  };
  await using it = await scene({ sandbox: { sizing: "static", annotations } });
  assert.is(it.has(), "4 vCPUs, 812 MiB");
});

s.test("an update raises, lowers and removes limits, before the start and while it runs", async () => {
  await using it = await scene();
  const options = { id: "web", rootfs: it.fake.rootfs, command: ["sleep", "60"], resources: { vcpus: 1, memory: "128MiB" } };
  const web = await it.sandbox.createContainer(options);
  await web.update({ vcpus: 2 });
  assert.is(it.has(), "3 vCPUs, 640 MiB");
  await web.start();
  await web.update({ memory: "256MiB", pids: 50 });
  assert.is(it.has(), "3 vCPUs, 768 MiB");
  assert.equal(it.fake.world.snapshot().vms[0]?.guest.containers[0]?.limits.pids, { limit: 50 });
  await web.update({ vcpus: 1, memory: "64MiB" });
  assert.is(it.has(), "2 vCPUs, 640 MiB");
  await web.update({ vcpus: null, memory: null });
  assert.is(it.has(), "1 vCPUs, 512 MiB");
  const { limits } = it.fake.world.snapshot().vms[0]?.guest.containers[0] ?? {};
  assert.is(limits?.cpu?.quota, -1);
  assert.is(limits?.memory?.limit, -1);
  await web.update({ cpuQuota: -1 });
  assert.is(web.status().resources.cpuQuota, -1);
  await web.stop();
  assert.is((await failureOf(web.update({ vcpus: 1 }))).code, "INVALID_STATE");
});

s.test("an update that the guest refuses changes neither the VM nor the container's limits", async () => {
  await using it = await scene();
  const web = await it.run("web", { vcpus: 1, memory: "256MiB" });
  it.fake.world.failNext("agent.updateContainer", { when: "before" });
  const error = await failureOf(web.update({ vcpus: 4, memory: "128MiB" }));
  assert.is(error.code, "AGENT_FAILED");
  assert.is(it.has(), "2 vCPUs, 768 MiB");
  assert.is(web.status().resources.memoryBytes, 256 * MiB);
});

s.test("taps amend and veto what is plugged and unplugged, for vCPUs, memory and updates", async () => {
  const seen: string[] = [];
  const taps = definePlugin("taps", (ctx) => {
    ctx.hooks.beforeHotplug.tapPromise(async (event) => {
      if (event.kind === "vcpu") seen.push(`${event.action} ${event.request.count} vCPUs`);
      if (event.kind === "memory") seen.push(`${event.action} ${event.request.bytes / MiB} MiB`);
      if (event.kind === "vcpu" && event.action === "plug" && event.request.count > 2) return { ...event, request: { count: 2 } };
      if (event.kind === "memory" && event.request.bytes > 1024 * MiB) throw new Error("over the cap");
      return event;
    });
    ctx.hooks.afterAttach.tapPromise(async ({ device }) => void seen.push(`attached ${device.kind}`));
    ctx.hooks.beforeUpdate.tapPromise(
      async (event) => ({ ...event, request: { ...event.request, memoryBytes: 64 * MiB } }) as typeof event,
    );
  });
  await using it = await scene({ plugins: [taps()] });
  const error = await failureOf(it.run("big", { memory: "2GiB" }));
  assert.is(error.code, "HOOK_FAILED");
  assert.is(it.has(), "1 vCPUs, 512 MiB");
  seen.length = 0;
  const web = await it.run("web", { vcpus: 4, memory: "128MiB" });
  assert.is(it.has(), "3 vCPUs, 640 MiB");
  assert.equal(seen, ["attached share", "plug 4 vCPUs", "plug 128 MiB", "attached vcpu", "attached memory"]);
  seen.length = 0;
  await web.update({ memory: "256MiB" });
  assert.is(web.status().resources.memoryBytes, 64 * MiB);
  await web.stop();
  assert.ok(seen.includes("unplug 64 MiB"), seen.join());
});

s.test("the out-of-memory killer's strike is told by wait and status", async () => {
  await using it = await scene();
  const web = await it.run("web", { memory: "128MiB" });
  const other = await it.run("other", { memory: "128MiB" });
  it.fake.world.oomKill("box", "web");
  assert.equal(await web.wait(), { exitCode: 137, oomKilled: true });
  await quiet();
  assert.is(web.status().oomKilled, true);
  assert.is(other.state, "running");
  await other.kill("SIGKILL");
  assert.equal(await other.wait(), { exitCode: 137 });
});

s.test("statistics are read before the start and after the end, and watched until the end", async () => {
  await using it = await scene();
  const web = await it.sandbox.createContainer({ id: "web", rootfs: it.fake.rootfs, command: ["sleep", "60"] });
  assert.is((await web.stats()).memory.oomKills, 0);
  await web.start();
  const readings: number[] = [];
  for await (const { at } of web.watchStats({ intervalMs: 10 })) {
    readings.push(at);
    if (readings.length === 2) await web.stop();
  }
  assert.is(readings.length, 3);
  assert.ok((await web.stats()).cpu.totalUs >= 0);
  const wrong = await web
    .watchStats({ intervalMs: 0 })
    .next()
    .catch((error: unknown) => error);
  assert.ok(isTapvisorError(wrong) && wrong.code === "INVALID_INPUT");
});

s.run();
