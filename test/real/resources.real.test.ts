import { readFile } from "node:fs/promises";
import type { Container } from "tapvisor";
import * as assert from "uvu/assert";
import { leaseMachine } from "../../plugins/hypervisor-qemu/machines.ts";
import { MiB } from "../../src/base/units.ts";
import { checkAgreement, memoryOf, ownLimits, type Subject } from "../support/agreement.ts";
import { guestShell } from "../support/guest-shell.ts";
import { failureOf, realEngine } from "../support/real-engine.ts";
import { suite } from "../support/suite.ts";
import { watchedBackends } from "../support/watched-backends.ts";
import { hostView, stateFiles } from "../support/whole-world.ts";

// One VM serves all tests of this file, since a boot under emulation takes seconds; the last test ends it and looks at what is left.
const s = suite("vCPUs and memory on real QEMU");
const TIMEOUT = { timeoutMs: 180_000 };
const backends = watchedBackends();
const world = await realEngine({ plugins: backends.plugins });
const { engine, rootfs, root } = world;
const empty = await hostView(root);

const shared: Promise<Subject> = (async () => {
  const sandbox = await engine.runSandbox({ id: "box", maxVcpus: 8, maxMemory: "3GiB" });
  const shell = await guestShell(sandbox, { id: "looker", rootfs });
  return { sandbox, shell, grant: backends.grant("box"), bootMemory: await memoryOf(shell) };
})();

s.test(
  "a VM has what it booted with, and ledger, QEMU and guest agree on it",
  async () => {
    const subject = await shared;
    const { base, target, limits, memoryBlockBytes } = await subject.sandbox.resources();
    assert.equal(base, { vcpus: 1, memoryBytes: 512 * MiB });
    assert.equal(target, base);
    assert.equal(limits, { vcpus: 8, memoryBytes: 3072 * MiB });
    assert.is(memoryBlockBytes, 128 * MiB);
    await checkAgreement(subject, "after the boot");
  },
  TIMEOUT,
);

const ASKS: Readonly<Record<string, { vcpus: number; memory: string }>> = {
  a: { vcpus: 1, memory: "128MiB" },
  b: { vcpus: 2, memory: "256MiB" },
  c: { vcpus: 3, memory: "200MiB" },
};

for (const order of ["abc", "acb", "bac", "bca", "cab", "cba"]) {
  s.test(
    `three containers with 1, 2 and 3 vCPUs and different memory, stopped in the order ${order}: guest, QEMU and ledger agree after each`,
    async () => {
      const subject = await shared;
      const containers = new Map<string, Container>();
      for (const [id, resources] of Object.entries(ASKS)) {
        const container = await subject.sandbox.run({ id, rootfs, command: ["sleep", "600"], resources });
        containers.set(id, container);
        await checkAgreement(subject, `${id} runs`);
      }
      assert.is((await subject.sandbox.resources()).target.vcpus, 7);
      for (const id of order) {
        await containers.get(id)?.stop({ timeoutMs: 100 });
        await checkAgreement(subject, `${id} stopped`);
      }
      assert.equal((await subject.sandbox.resources()).requests, {});
      for (const container of containers.values()) await container.delete();
    },
    TIMEOUT,
  );
}

s.test(
  "vCPUs run on the host's CPUs that are asked for, those that came later too",
  async () => {
    await using sandbox = await engine.runSandbox({ id: "pinned", hostCpus: "0", maxVcpus: 4 });
    await sandbox.run({ id: "web", rootfs, command: ["sleep", "600"], resources: { vcpus: 1 } });
    const grant = backends.grant("pinned");
    await using lease = await leaseMachine(grant);
    const vcpus = (await lease.machine.execute("query-cpus-fast", {}, {})) as readonly { "thread-id": number }[];
    assert.is(vcpus.length, 2);
    for (const { "thread-id": thread } of vcpus) {
      assert.match(await readFile(`/proc/${grant.process?.pid}/task/${thread}/status`, "utf8"), /Cpus_allowed_list:\s+0\n/);
    }
  },
  TIMEOUT,
);

s.test(
  "update raises, lowers and removes limits: the container's own cgroup, the guest, QEMU and the ledger follow",
  async () => {
    const subject = await shared;
    await using web = await guestShell(subject.sandbox, { id: "web", rootfs, resources: { vcpus: 1, memory: "128MiB" } });
    assert.equal(await ownLimits(web), { cpu: "100000 100000", memory: String(128 * MiB), pids: "max" });
    await web.container.update({ vcpus: 2.5, memory: "300MiB", pids: 40 });
    assert.equal(await ownLimits(web), { cpu: "250000 100000", memory: String(300 * MiB), pids: "40" });
    assert.equal((await subject.sandbox.resources()).target, { vcpus: 4, memoryBytes: (512 + 384) * MiB });
    await checkAgreement(subject, "raised");
    await web.container.update({ vcpus: 1, memory: "64MiB" });
    assert.equal(await ownLimits(web), { cpu: "100000 100000", memory: String(64 * MiB), pids: "40" });
    await checkAgreement(subject, "lowered");
    await web.container.update({ vcpus: null, memory: null, pids: null });
    assert.equal(await ownLimits(web), { cpu: "max 100000", memory: "max", pids: "max" });
    assert.equal((await subject.sandbox.resources()).target, { vcpus: 1, memoryBytes: 512 * MiB });
    await checkAgreement(subject, "removed");
  },
  TIMEOUT,
);

s.test(
  "an update before the start holds when the container runs",
  async () => {
    const subject = await shared;
    const container = await subject.sandbox.createContainer({ id: "web", rootfs, command: ["cat", "/sys/fs/cgroup/memory.max"] });
    await container.update({ memory: "96MiB", vcpus: 1 });
    await checkAgreement(subject, "updated before the start");
    await container.start();
    assert.is((await container.stdout.text()).trim(), String(96 * MiB));
    await container.wait();
    await container.delete();
    await checkAgreement(subject, "deleted");
  },
  TIMEOUT,
);

s.test(
  "a memory limit below what is in use is refused, and VM, ledger and cgroup are as before",
  async () => {
    const subject = await shared;
    await using web = await guestShell(subject.sandbox, {
      id: "web",
      rootfs,
      resources: { memory: "128MiB" },
      mounts: [{ tmpfs: true, target: "/fill" }],
    });
    await web.ask("head -c 80000000 /dev/zero > /fill/data");
    const error = await failureOf(web.container.update({ memory: "32MiB", vcpus: 2 }));
    assert.is(error.code, "AGENT_FAILED");
    assert.equal(error.rollback?.left, []);
    assert.equal(await ownLimits(web), { cpu: "max 100000", memory: String(128 * MiB), pids: "max" });
    assert.is(web.container.status().resources.memoryBytes, 128 * MiB);
    await checkAgreement(subject, "refused");
  },
  TIMEOUT,
);

s.test(
  "a container that fills its memory dies alone, and its end tells why",
  async () => {
    const subject = await shared;
    await using neighbour = await guestShell(subject.sandbox, { id: "neighbour", rootfs, resources: { memory: "64MiB" } });
    const fill = "tail /dev/zero"; // it keeps all that it has read since the last line, and there is no line
    const eater = await subject.sandbox.run({ id: "eater", rootfs, command: ["sh", "-c", `exec ${fill}`], resources: { memory: "64MiB" } });
    assert.equal(await eater.wait({ timeoutMs: 120_000 }), { exitCode: 137, oomKilled: true });
    assert.is(await neighbour.ask("echo alive"), "alive");
    assert.is(eater.status().oomKilled, true);
    assert.ok((await eater.stats()).memory.oomKills >= 1);
    await eater.delete();
    await checkAgreement(subject, "after the strike");
  },
  TIMEOUT,
);

s.test(
  "memory beyond the VM's maximum is refused with the right totals, and vCPUs beyond it are clamped",
  async () => {
    const subject = await shared;
    const error = await failureOf(subject.sandbox.run({ id: "big", rootfs, command: ["true"], resources: { memory: "2700MiB" } }));
    assert.is(error.code, "VM_LIMIT");
    assert.equal(error.data, { what: "memory", wanted: (512 + 2816) * MiB, available: 3072 * MiB });
    const wide = await subject.sandbox.run({ id: "wide", rootfs, command: ["sleep", "600"], resources: { vcpus: 12 } });
    const { target, clampedFrom } = await subject.sandbox.resources();
    assert.equal([target.vcpus, clampedFrom], [8, 13]);
    await checkAgreement(subject, "clamped");
    await wide[Symbol.asyncDispose]();
    await checkAgreement(subject, "not clamped any more");
  },
  TIMEOUT,
);

s.test(
  "more than a gigabyte comes and goes in one container's life",
  async () => {
    const subject = await shared;
    const container = await subject.sandbox.run({ id: "big", rootfs, command: ["sleep", "600"], resources: { memory: "1100MiB" } });
    await checkAgreement(subject, "grown");
    await container.stop({ timeoutMs: 100 });
    const { granted, target } = await subject.sandbox.resources();
    assert.ok(granted.memoryBytes >= target.memoryBytes);
    await checkAgreement(subject, "asked back", false);
    await container.delete();
  },
  TIMEOUT,
);

s.test(
  "memory that a stopped container's files take is not asked back until they are gone, and the guest lives",
  async () => {
    const subject = await shared;
    const script = "head -c 800000000 /dev/zero > /fill && echo full && sleep 600";
    const container = await subject.sandbox.run({ id: "hoarder", rootfs, command: ["sh", "-c", script], resources: { memory: "1200MiB" } });
    assert.is((await container.stdout.lines().next()).value, "full");
    await container.stop({ timeoutMs: 100 });
    assert.is(await subject.shell.ask("echo alive"), "alive");
    const { granted, target } = await subject.sandbox.resources();
    assert.is(target.memoryBytes, 512 * MiB);
    assert.ok(granted.memoryBytes > 800_000_000, `${granted.memoryBytes} bytes`);
    await checkAgreement(subject, "stopped, its files still there", false);
    await container.delete();
    assert.ok((await subject.sandbox.resources()).granted.memoryBytes < granted.memoryBytes);
    await checkAgreement(subject, "deleted", false);
  },
  TIMEOUT,
);

s.test(
  "statistics count what a container does, before its start and after its end",
  async () => {
    const { sandbox } = await shared;
    const work = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; head -c 20000000 /dev/zero > /fill; sleep 600";
    const container = await sandbox.createContainer({
      id: "busy",
      rootfs,
      command: ["sh", "-c", work],
      resources: { memory: "128MiB", pids: 20 },
    });
    const before = await container.stats();
    assert.is(before.cpu.totalUs, 0);
    await container.start();
    for await (const { memory } of container.watchStats({ intervalMs: 50 })) if (memory.usage.bytes > 20_000_000) break;
    const during = await container.stats();
    assert.ok(during.cpu.totalUs > 0 && during.cpu.userUs + during.cpu.kernelUs > 0, JSON.stringify(during.cpu));
    assert.is(during.memory.usage.limitBytes, 128 * MiB);
    assert.ok(during.memory.usage.bytes > 20_000_000 && during.memory.usage.bytes <= 128 * MiB);
    assert.ok(during.pids.current >= 1);
    assert.is(during.pids.limit, 20);
    await container.stop({ timeoutMs: 100 });
    assert.ok((await container.stats()).cpu.totalUs >= during.cpu.totalUs);
    await container.delete();
  },
  TIMEOUT,
);

s.test(
  "pause freezes one container and no other, resume lets it go on, and a paused one can be stopped",
  async () => {
    const { sandbox, shell } = await shared;
    const container = await sandbox.run({ id: "ticker", rootfs, command: ["sh", "-c", "while true; do echo tick; sleep 0.05; done"] });
    const lines = container.stdout.lines()[Symbol.asyncIterator]();
    await lines.next();
    await container.pause();
    assert.is(container.state, "paused");
    const { cpu } = await container.stats();
    assert.is(await shell.ask("sleep 0.3; echo on"), "on");
    assert.is((await container.stats()).cpu.totalUs, cpu.totalUs);
    await container.resume();
    for (let ticks = 0; ticks < 20; ticks++) assert.is((await lines.next()).value, "tick");
    await container.pause();
    await container.stop({ timeoutMs: 2_000 });
    assert.is(container.state, "stopped");
    await container.delete();
  },
  TIMEOUT,
);

s.test(
  "the end of the sandbox leaves nothing",
  async () => {
    const { sandbox } = await shared;
    await sandbox.stop({ force: true });
    await sandbox.delete();
    assert.equal(await hostView(root), empty);
    assert.equal(await stateFiles(root), []);
    await world[Symbol.asyncDispose]();
  },
  TIMEOUT,
);

s.run();
