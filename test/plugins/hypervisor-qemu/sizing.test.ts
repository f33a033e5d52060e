import { chmod, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Bytes, GiB, type Hypervisor, isAlive, MiB, type Vm, type VmGrant, type VmIntent, type VmSizing } from "tapvisor/plugin";
import * as assert from "uvu/assert";
import { DIMM_SLOTS, HOTPLUG_BUS } from "../../../plugins/hypervisor-qemu/command-line.ts";
import { leaseMachine } from "../../../plugins/hypervisor-qemu/machines.ts";
import { suite } from "../../support/suite.ts";
import { startElsewhere } from "./support/elsewhere.ts";
import { haltingKernel, unpluggingKernel } from "./support/real-mode-kernel.ts";
import { refusal } from "./support/refusal.ts";
import { call, qemu, shareIntent, shares, type World, world } from "./support/world.ts";

/** On real QEMU with a guest of a few bytes, which does nothing with what it is given. */
const s = suite("hypervisor-qemu sizing");
const isRoot = process.geteuid?.() === 0;
const shareTest: typeof s.test = isRoot ? s.test : (title) => s.skip(title, "shares need root");

const BOOT = 64 * MiB;
const STEP = 128 * MiB;
const LIMITS = { vcpus: 4, memoryBytes: (BOOT + DIMM_SLOTS * STEP) as Bytes };

interface Sized extends AsyncDisposable {
  readonly w: World;
  readonly grant: VmGrant;
  readonly vm: Vm;
  readonly sizing: VmSizing;
}

async function sized(amend: Partial<VmIntent> = {}, hypervisor?: Hypervisor, kernel = haltingKernel()): Promise<Sized> {
  const w = await world(kernel, { limits: LIMITS, ...amend });
  const { holdings, connect } = hypervisor ?? w.hypervisor;
  const grant = await holdings.vm.acquire(w.intent, call());
  const vm = await connect(grant, call());
  return { w, grant, vm, sizing: sizingOf(vm), [Symbol.asyncDispose]: () => w[Symbol.asyncDispose]() };
}

function sizingOf({ sizing }: Vm): VmSizing {
  if (!sizing) throw new Error("QEMU resizes");
  return sizing;
}

/** A guest's files that say it drives virtio-mem. */
const withDriver = (w: World): VmIntent => ({ ...w.intent, boot: { ...w.intent.boot, virtioMem: true } });
const bytes = (value: number) => value as Bytes;

async function devicesOf(grant: VmGrant, path: string): Promise<string[]> {
  await using lease = await leaseMachine(grant);
  const found = (await lease.machine.execute("qom-list", { path })) as readonly { readonly name: string }[];
  return found.map(({ name }) => name);
}

for (const machine of ["q35", "pc"] as const) {
  s.test(`${machine}: vCPUs grow to the limit, memory by modules, and QEMU agrees`, async () => {
    await using vm = await sized({ vcpus: 2 }, await qemu({ accelerator: "tcg", machine }));
    const { sizing } = vm;
    assert.equal(await sizing.size(call()), { vcpus: 2, memoryBytes: BOOT });
    assert.equal(await sizing.resizeVcpus(3, call()), { reached: 3 });
    assert.equal(await sizing.resizeVcpus(4, call()), { reached: 4 });
    for (let n = 1; n <= 3; n++) assert.equal(await sizing.resizeMemory(bytes(BOOT + n * STEP), call()), { reached: BOOT + n * STEP });
    assert.equal(await sizing.size(call()), { vcpus: 4, memoryBytes: BOOT + 3 * STEP });
    const devices = await devicesOf(vm.grant, "/machine/peripheral");
    for (const id of ["cpu-2", "cpu-3", "dimm-0", "dimm-1", "dimm-2", "scsi", HOTPLUG_BUS]) assert.ok(devices.includes(id), id);
  });

  s.test(`${machine}: a device goes into the hot-plug bus, and one onto the SCSI controller`, async () => {
    await using vm = await sized({}, await qemu({ accelerator: "tcg", machine }));
    await using lease = await leaseMachine(vm.grant);
    for (const [node, driver, bus] of [
      ["a", "virtio-blk-pci", HOTPLUG_BUS],
      ["b", "scsi-hd", "scsi.0"],
    ]) {
      await lease.machine.execute("blockdev-add", { driver: "null-co", "node-name": node, size: MiB });
      await lease.machine.execute("device_add", { driver, id: `on-${node}`, drive: node, bus });
    }
  });
}

s.test("a guest that neither takes nor gives is waited for as long as the caller likes, and given nothing later", async () => {
  await using w = await world(haltingKernel(), { limits: LIMITS });
  const grant = await w.hypervisor.holdings.vm.acquire(withDriver(w), call());
  const sizing = sizingOf(await w.hypervisor.connect(grant, call()));
  const { reached, shortfall } = await sizing.resizeMemory(bytes(BOOT + STEP), call(300));
  assert.is(reached, BOOT);
  assert.match(shortfall ?? "", /taken 0B of 128MiB/);
  await using lease = await leaseMachine(grant);
  assert.is(await lease.machine.execute("qom-get", { path: "/machine/peripheral/growth", property: "requested-size" }), 0);
});

s.test("a module that the guest keeps stays counted, and so does its memory", async () => {
  await using vm = await sized();
  await vm.sizing.resizeMemory(bytes(BOOT + STEP), call());
  for (let time = 0; time < 2; time++) {
    const { reached, shortfall } = await vm.sizing.resizeMemory(bytes(BOOT), call(300));
    assert.is(reached, BOOT + STEP);
    assert.match(shortfall ?? "", /memory "dimm-0"/);
  }
  assert.ok((await devicesOf(vm.grant, "/objects")).includes("dimm-0-ram"));
});

shareTest("all slots hold a module beside shares, which reach them; one more is refused and leaves nothing", async () => {
  await using vm = await sized({ limits: { ...LIMITS, memoryBytes: bytes(LIMITS.memoryBytes + STEP) } }, undefined, unpluggingKernel());
  const { w, grant, sizing } = vm;
  const holding = shares(w.hypervisor);
  const before = await shareIntent(w.directory, grant, "before");
  await holding.acquire(before, call());
  for (let n = 1; n <= DIMM_SLOTS; n++)
    assert.equal(await sizing.resizeMemory(bytes(BOOT + n * STEP), call()), { reached: BOOT + n * STEP });
  const after = await shareIntent(w.directory, grant, "after");
  await holding.acquire(after, call());
  const error = await refusal(sizing.resizeMemory(bytes(LIMITS.memoryBytes + STEP), call()));
  assert.equal(
    [error.code, error.data],
    ["VM_LIMIT", { what: "memory", wanted: LIMITS.memoryBytes + STEP, available: LIMITS.memoryBytes }],
  );
  const memory = (await devicesOf(grant, "/objects")).filter((name) => name.startsWith("dimm-"));
  assert.is(memory.length, DIMM_SLOTS);
  for (const intent of [before, after]) await holding.release({ intent, grant: undefined }, call());
});

s.test("more memory than the host has available is HOST_LIMIT", async () => {
  await using vm = await sized({ limits: { vcpus: 1, memoryBytes: bytes(BOOT + 512 * GiB) } });
  const error = await refusal(vm.sizing.resizeMemory(bytes(BOOT + 512 * GiB), call()));
  assert.is(error.code, "HOST_LIMIT");
  assert.equal(await vm.sizing.size(call()), { vcpus: 1, memoryBytes: BOOT });
});

s.test("a QEMU without virtio-mem is started with slots for modules, at the first VM and the next", async () => {
  await using w = await world(haltingKernel(), { limits: LIMITS });
  const binary = join(w.directory, "qemu");
  const lacking = "qemu: -device virtio-mem-pci: 'virtio-mem-pci' is not a valid device model name";
  const starts = join(w.directory, "starts");
  const script = `#!/bin/sh\necho x >>${starts}\ncase "$*" in *virtio-mem-pci*) echo "${lacking}" >&2; exit 1;; esac\nexec qemu-system-x86_64 "$@"\n`;
  await writeFile(binary, script);
  await chmod(binary, 0o755);
  const hypervisor = await qemu({ accelerator: "tcg", binary });
  for (const nonce of ["first-vm-0123456789", "next-vm-0123456789"]) {
    const intent = { ...withDriver(w), nonce };
    const grant = await hypervisor.holdings.vm.acquire(intent, call());
    try {
      assert.is((grant.details as { memoryDevice: string }).memoryDevice, "pc-dimm");
      const sizing = sizingOf(await hypervisor.connect(grant, call()));
      assert.equal(await sizing.resizeMemory(bytes(BOOT + STEP), call()), { reached: BOOT + STEP });
    } finally {
      await hypervisor.holdings.vm.release({ intent, grant }, call());
    }
  }
});

s.test("another process resizes a VM that it adopts, with nothing but the grant", async () => {
  await using w = await world(haltingKernel(), { detached: true, limits: LIMITS });
  const { vm: grant } = await startElsewhere(w);
  for (const n of [1, 2]) {
    const vm = await w.hypervisor.connect(JSON.parse(JSON.stringify(grant)), call());
    const sizing = sizingOf(vm);
    assert.equal(await sizing.resizeVcpus(1 + n, call()), { reached: 1 + n });
    assert.equal(await sizing.resizeMemory(bytes(BOOT + n * STEP), call()), { reached: BOOT + n * STEP });
    await vm.disconnect();
  }
  assert.ok(grant.process && (await isAlive(grant.process)));
});

s.test("a VM that has been killed cannot be resized: VM_FAILED, at once and when it happens in the middle", async () => {
  await using w = await world(haltingKernel(), { limits: LIMITS });
  const grant = await w.hypervisor.holdings.vm.acquire(withDriver(w), call());
  const sizing = sizingOf(await w.hypervisor.connect(grant, call()));
  const growing = refusal(sizing.resizeMemory(bytes(BOOT + STEP), call()));
  process.kill(grant.process?.pid ?? 0, "SIGKILL");
  for (const work of [
    growing,
    refusal(sizing.resizeMemory(bytes(BOOT + STEP), call())),
    refusal(sizing.resizeVcpus(2, call())),
    refusal(sizing.size(call())),
  ]) {
    const error = await work;
    assert.is(error.code, "VM_FAILED", error.message);
  }
});

s.run();
