import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Bytes, MiB, signalProcess } from "tapvisor/plugin";
import { quietCall } from "tapvisor/testing";
import * as assert from "uvu/assert";
import { leaseMachine } from "../../../plugins/hypervisor-qemu/machines.ts";
import { queryVcpus, removeVcpus } from "../../../plugins/hypervisor-qemu/resize-vcpus.ts";
import { suite } from "../../support/suite.ts";
import { BOOT_BYTES, type GuestVm, guestVm } from "./support/guest-vm.ts";
import { refusal } from "./support/refusal.ts";
import { until } from "./support/world.ts";

const s = suite("hypervisor-qemu resize of a real guest");
const isRoot = process.geteuid?.() === 0;
const test: typeof s.test = isRoot
  ? (title, body) => s.test(title, body, { timeoutMs: 180_000 })
  : (title) => s.skip(title, "shares need root");

const call = (timeoutMs = 60_000) => quietCall({ timeoutMs });
const PAGE = 4096;
const total = (extra: number) => (BOOT_BYTES + extra) as Bytes;

/** The guest's `MemTotal`, bytes. */
async function memoryOf(vm: GuestVm): Promise<number> {
  return Number(/^MemTotal: +(\d+) kB/.exec(await vm.ask("cat /proc/meminfo"))?.[1]) * 1024;
}

/** Pages of the guest that are free where what was plugged in is. */
async function freePlugged(vm: GuestVm): Promise<number> {
  return Number(await vm.ask("awk '/zone +Movable/ { on = 1 } on && /nr_free_pages/ { print $2; exit }' /proc/zoneinfo"));
}

for (const { machine, virtioMem } of [
  { machine: "q35", virtioMem: true },
  { machine: "pc", virtioMem: false },
] as const) {
  const device = virtioMem ? "virtio-mem" : "memory modules";
  test(`${machine}, ${device}: the guest has and can use what is plugged in, and moves what is in use when it gives it back`, async () => {
    await using vm = await guestVm({ qemu: { machine }, virtioMem });
    const before = await memoryOf(vm);
    for (const extra of [128 * MiB, 1024 * MiB]) {
      assert.equal(await vm.sizing.resizeMemory(total(extra), call()), { reached: total(extra) });
      await until(async () => (await memoryOf(vm)) === before + extra); // a module is taken in after it has been plugged in
    }
    const free = await freePlugged(vm);
    await writeFile(join(vm.rootfs, "data"), Buffer.alloc(64 * MiB, "tapvisor"));
    const isSame = async () => (await vm.ask("cmp /data /tmp/copy && echo same")) === "same";
    await vm.ask("cat /data > /tmp/copy");
    assert.ok(await isSame());
    assert.ok((await freePlugged(vm)) < free - (64 * MiB) / PAGE); // so virtiofsd has written into what was plugged in
    assert.equal(await vm.sizing.resizeMemory(total(0), call()), { reached: total(0) });
    assert.is(await memoryOf(vm), before);
    assert.ok(await isSame());
    assert.equal(await vm.sizing.resizeMemory(total(128 * MiB), call()), { reached: total(128 * MiB) });
    await until(async () => (await memoryOf(vm)) === before + 128 * MiB);
    assert.equal(await vm.sizing.size(call()), { vcpus: 1, memoryBytes: total(128 * MiB) });
  });
}

test("virtio-mem: what the guest has not given back when the caller gives up comes back by itself", async () => {
  await using vm = await guestVm();
  await vm.sizing.resizeMemory(total(256 * MiB), call());
  await vm.pause();
  const { reached, shortfall } = await vm.sizing.resizeMemory(total(0), call(300));
  assert.equal([reached, shortfall], [total(256 * MiB), "the guest has given back 0B of 256MiB so far"]);
  await vm.resume();
  await until(async () => (await vm.sizing.size(call())).memoryBytes === total(0));
});

test("vCPUs come lowest index first and are parked; one that is removed once is gone in the guest too", async () => {
  await using vm = await guestVm();
  assert.equal(await vm.sizing.resizeVcpus(3, call()), { reached: 3 });
  const present = () => vm.ask("cat /sys/devices/system/cpu/present");
  await until(async () => (await present()) === "0-2");
  assert.is((await vm.client.syncResources({ vcpus: 3 }, call()))?.onlineVcpus, 3);
  assert.equal(await vm.sizing.resizeVcpus(1, call()), { reached: 3 });
  assert.is((await vm.client.syncResources({ vcpus: 1 }, call()))?.onlineVcpus, 1);
  assert.is((await vm.client.syncResources({ vcpus: 2 }, call()))?.onlineVcpus, 2);
  await using lease = await leaseMachine(vm.grant);
  const { signal } = call();
  // Safe under emulation, since no vCPU is added to this VM any more.
  assert.equal(await removeVcpus(lease.machine, await queryVcpus(lease.machine, signal), 2, signal), { reached: 2 });
  assert.is(await present(), "0-1");
  assert.is((await vm.sizing.size(call())).vcpus, 2);
});

test("a QEMU that is killed while the guest takes memory is VM_FAILED", async () => {
  await using vm = await guestVm();
  const growing = refusal(vm.sizing.resizeMemory(total(1024 * MiB), call()));
  if (vm.grant.process) await signalProcess(vm.grant.process, "SIGKILL");
  assert.is((await growing).code, "VM_FAILED");
});

s.run();
