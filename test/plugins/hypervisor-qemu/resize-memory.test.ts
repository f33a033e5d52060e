import { spawn } from "node:child_process";
import { once } from "node:events";
import type { Socket } from "node:net";
import { GiB, identifyProcess, MiB } from "tapvisor/plugin";
import * as assert from "uvu/assert";
import { suite } from "../../support/suite.ts";
import { answer, event, type Request } from "./support/fake-qmp.ts";
import { refusal } from "./support/refusal.ts";
import { BOOT_BYTES, callFor, deleted, refuse, type SizedVm, sizedVm } from "./support/sized-vm.ts";

const s = suite("hypervisor-qemu memory");

const bytes = (value: number) => value as Parameters<SizedVm["sizing"]["resizeMemory"]>[0];
const resize = (vm: SizedVm, target: number, timeoutMs?: number) => vm.sizing.resizeMemory(bytes(target), callFor(timeoutMs));
const requested = (value: number) => `qom-set requested-size ${value}`;

/** A guest that settles at its own size, whatever it is asked for. */
const guestAt = (size: number) => (request: Request, vm: SizedVm, socket: Socket) => {
  if (request.execute !== "qom-set") return false;
  vm.growth.requested = Number(request.arguments.value);
  vm.growth.size = size;
  answer(socket, request, {});
  return true;
};

s.test(
  "virtio-mem: growing and shrinking ask for what is beyond the boot, and end when QEMU has it, though it tells of no change",
  async () => {
    await using vm = await sizedVm();
    for (const extra of [128 * MiB, 1 * GiB, 2 * MiB, 0, 0]) {
      assert.equal(await resize(vm, BOOT_BYTES + extra), { reached: BOOT_BYTES + extra });
      assert.is((await vm.sizing.size(callFor())).memoryBytes, BOOT_BYTES + extra);
      assert.is(vm.changes.pop(), requested(extra));
    }
  },
);

s.test("virtio-mem: the end of a change is heard, or seen while QEMU keeps quiet about it", async () => {
  for (const tell of [true, false]) {
    await using vm = await sizedVm({
      intercept(request, { growth }, socket) {
        if (request.execute !== "qom-set") return false;
        answer(socket, request, {});
        setTimeout(() => {
          growth.size = Number(request.arguments.value);
          if (tell) event(socket, "MEMORY_DEVICE_SIZE_CHANGE", { id: "growth", size: growth.size });
        }, 30);
        return true;
      },
    });
    // Longer than a test may last: one that waits for a word that never comes does not pass.
    assert.equal(await resize(vm, 1 * GiB, 50_000), { reached: 1 * GiB });
  }
});

s.test("virtio-mem: what the guest does not take in time it is not given any more", async () => {
  await using vm = await sizedVm({
    intercept: (request, vm, socket) => request.arguments.value !== 128 * MiB && guestAt(128 * MiB)(request, vm, socket),
  });
  const { reached, shortfall } = await resize(vm, 1 * GiB, 100);
  assert.equal([reached, shortfall], [BOOT_BYTES + 128 * MiB, "the guest has taken 128MiB of 512MiB"]);
  assert.equal(vm.changes, [requested(512 * MiB), requested(128 * MiB)]);
});

s.test("virtio-mem: a guest without a driver takes nothing, and the reason says what may be missing", async () => {
  await using vm = await sizedVm({ intercept: guestAt(0) });
  const { reached, shortfall } = await resize(vm, 1 * GiB, 100);
  assert.is(reached, BOOT_BYTES);
  assert.match(shortfall ?? "", /taken 0B of 512MiB: it may have no driver/);
  assert.is(vm.growth.requested, 0);
});

s.test("virtio-mem: a shrink ends with the caller's patience, and the guest is still asked for the rest", async () => {
  await using vm = await sizedVm({
    intercept: (request, vm, socket) => request.arguments.value === 0 && guestAt(256 * MiB)(request, vm, socket),
  });
  await resize(vm, 1 * GiB);
  const { reached, shortfall } = await resize(vm, BOOT_BYTES, 100);
  assert.equal([reached, shortfall], [BOOT_BYTES + 256 * MiB, "the guest has given back 256MiB of 512MiB so far"]);
  assert.is(vm.growth.requested, 0);
});

s.test("virtio-mem: a growth takes a shrink back that is under way", async () => {
  await using vm = await sizedVm({
    intercept: (request, vm, socket) => request.arguments.value === 0 && guestAt(512 * MiB)(request, vm, socket),
  });
  await resize(vm, 1 * GiB);
  await resize(vm, BOOT_BYTES, 50);
  assert.equal(await resize(vm, 1 * GiB), { reached: 1 * GiB });
  assert.is(vm.growth.requested, 512 * MiB);
});

s.test("modules: each growth plugs one in, its memory shared and in its own slot", async () => {
  await using vm = await sizedVm({ memoryDevice: "pc-dimm" });
  assert.equal(await resize(vm, BOOT_BYTES + 128 * MiB), { reached: BOOT_BYTES + 128 * MiB });
  assert.equal(await resize(vm, 1 * GiB), { reached: 1 * GiB });
  assert.equal(vm.changes, [
    `object-add dimm-0-ram {"qom-type":"memory-backend-memfd","size":${128 * MiB},"share":true}`,
    'device_add dimm-0 {"driver":"pc-dimm","memdev":"dimm-0-ram","slot":0}',
    `object-add dimm-1-ram {"qom-type":"memory-backend-memfd","size":${384 * MiB},"share":true}`,
    'device_add dimm-1 {"driver":"pc-dimm","memdev":"dimm-1-ram","slot":1}',
  ]);
  assert.is((await vm.sizing.size(callFor())).memoryBytes, 1 * GiB);
});

s.test("modules: one that QEMU refuses leaves no memory behind, and its reason is told", async () => {
  const desc = "not enough space, currently 0x0 in use of total space for memory devices 0x0";
  await using vm = await sizedVm({
    memoryDevice: "pc-dimm",
    intercept: (request, _, socket) => request.execute === "device_add" && refuse(socket, request, desc),
  });
  const { reached, shortfall } = await resize(vm, 1 * GiB);
  assert.is(reached, BOOT_BYTES);
  assert.match(shortfall ?? "", desc);
  assert.equal([...vm.objects.keys()], ["ram"]);
});

s.test("modules: whole ones go, the newest first, and never more than is to be given back", async () => {
  await using vm = await sizedVm({ memoryDevice: "pc-dimm" });
  for (const extra of [128, 384, 896]) await resize(vm, BOOT_BYTES + extra * MiB);
  vm.changes.length = 0;
  const target = BOOT_BYTES + 512 * MiB; // the newest of 128, 256 and 512 MiB is too large to go
  assert.equal(await resize(vm, target), { reached: target });
  assert.equal(vm.changes, ["device_del dimm-1", "device_del dimm-0", "object-del dimm-0-ram", "object-del dimm-1-ram"]);
  const { reached, shortfall } = await resize(vm, target - 128 * MiB);
  assert.is(reached, target);
  assert.match(shortfall ?? "", /whole modules, and each that is left is larger than 128MiB/);
  assert.equal(await resize(vm, BOOT_BYTES), { reached: BOOT_BYTES });
  assert.equal([...vm.objects.keys()], ["ram"]);
});

s.test("modules: a new one has the slot after the highest, then the lowest free one, and none when all are taken", async () => {
  await using vm = await sizedVm({ memoryDevice: "pc-dimm" });
  const plugged = () => [...vm.dimms.keys()].at(-1);
  let total = BOOT_BYTES;
  const grow = () => {
    total += 128 * MiB;
    return resize(vm, total);
  };
  for (const slot of [0, 1, 2]) {
    await grow();
    assert.is(plugged(), slot);
  }
  vm.dimms.delete(0);
  total -= 128 * MiB;
  for (const slot of [3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0]) {
    await grow();
    assert.is(plugged(), slot);
  }
  const error = await refusal(grow());
  assert.equal([error.code, error.data], ["VM_LIMIT", { what: "memory", wanted: total, available: total - 128 * MiB }]);
  assert.is(vm.dimms.size, 16);
  assert.is(vm.objects.size, 17);
});

s.test("modules: one that the guest keeps stays with its memory, and the next is tried", async () => {
  await using vm = await sizedVm({
    memoryDevice: "pc-dimm",
    intercept(request, _, socket) {
      if (request.execute !== "device_del") return false;
      const device = String(request.arguments.id);
      const status = device === "dimm-1" ? 0x82 : 0;
      setTimeout(() => event(socket, "ACPI_DEVICE_OST", { info: { device, slot: "1", "slot-type": "DIMM", source: 3, status } }), 5);
      if (status === 0) return false;
      answer(socket, request, {});
      return true;
    },
  });
  await resize(vm, BOOT_BYTES + 128 * MiB);
  await resize(vm, BOOT_BYTES + 256 * MiB);
  const { reached, shortfall } = await resize(vm, BOOT_BYTES);
  assert.is(reached, BOOT_BYTES + 128 * MiB);
  assert.match(shortfall ?? "", /memory "dimm-1": the guest's ACPI status is 130/);
  assert.equal([...vm.objects.keys()], ["ram", "dimm-1-ram"]);
});

s.test("modules: a guest that does not answer is asked for one only, and no longer than the caller waits or 5 s", async () => {
  for (const timeoutMs of [100, 20_000]) {
    await using vm = await sizedVm({
      memoryDevice: "pc-dimm",
      intercept(request, _, socket) {
        if (request.execute !== "device_del") return false;
        answer(socket, request, {});
        return true;
      },
    });
    await resize(vm, BOOT_BYTES + 128 * MiB);
    await resize(vm, BOOT_BYTES + 256 * MiB);
    vm.changes.length = 0;
    const { reached, shortfall } = await resize(vm, BOOT_BYTES, timeoutMs);
    assert.is(reached, BOOT_BYTES + 256 * MiB);
    assert.match(shortfall ?? "", /dimm-1/);
    assert.equal(vm.changes, ["device_del dimm-1"]);
  }
});

s.test("modules: memory that a late guest or a cut plug has left is removed by the next resize", async () => {
  await using vm = await sizedVm({ memoryDevice: "pc-dimm" });
  vm.objects.set("dimm-0-ram", 128 * MiB).set("share-ram", 1);
  await resize(vm, BOOT_BYTES);
  assert.equal([...vm.objects.keys()], ["ram", "share-ram"]);
});

s.test("modules: a guest that gives back with QEMU's word alone", async () => {
  await using vm = await sizedVm({
    memoryDevice: "pc-dimm",
    intercept(request, { dimms }, socket) {
      if (request.execute !== "device_del") return false;
      answer(socket, request, {});
      setTimeout(() => {
        dimms.delete(0);
        deleted(socket, "dimm-0");
      }, 20);
      return true;
    },
  });
  await resize(vm, 1 * GiB);
  assert.equal(await resize(vm, BOOT_BYTES), { reached: BOOT_BYTES });
});

for (const memoryDevice of ["virtio-mem", "pc-dimm"] as const) {
  s.test(
    `${memoryDevice}: no target is taken that is no amount, above the limit, or no whole number of blocks; QEMU is not asked`,
    async () => {
      await using vm = await sizedVm({ memoryDevice, limitBytes: 1 * GiB });
      const above = await refusal(resize(vm, 1 * GiB + 128 * MiB));
      assert.equal([above.code, above.data], ["VM_LIMIT", { what: "memory", wanted: 1152 * MiB, available: 1 * GiB }]);
      assert.match(above.message, "1152MiB of memory: it booted with 512MiB of memory and can have at most 1GiB of memory");
      for (const target of [0, -1, 1.5, Number.NaN, BOOT_BYTES + 1 * MiB]) {
        const error = await refusal(resize(vm, target));
        assert.is(error.code === "INVALID_INPUT" && error.data.path, "memory", String(target));
      }
      assert.equal(vm.changes, []);
    },
  );

  s.test(`${memoryDevice}: less than the boot is the boot, and says so`, async () => {
    await using vm = await sizedVm({ memoryDevice });
    const less = { reached: BOOT_BYTES, shortfall: "the VM booted with 512MiB of memory" };
    assert.equal(await resize(vm, BOOT_BYTES - 1 * MiB), less);
    await resize(vm, 1 * GiB);
    assert.equal(await resize(vm, 1 * MiB), less);
  });

  s.test(`${memoryDevice}: a VM that cannot grow stays as it is`, async () => {
    await using vm = await sizedVm({
      memoryDevice,
      limitBytes: BOOT_BYTES,
      intercept: (request, _, socket) => request.execute.startsWith("qom-get") && refuse(socket, request, "Device 'growth' not found"),
    });
    assert.equal(await resize(vm, BOOT_BYTES), { reached: BOOT_BYTES });
    assert.is((await refusal(resize(vm, BOOT_BYTES + 128 * MiB))).code, "VM_LIMIT");
  });

  s.test(`${memoryDevice}: more than the host has is HOST_LIMIT with both numbers, and nothing changes`, async () => {
    await using vm = await sizedVm({ memoryDevice, limitBytes: 2 ** 50 });
    const error = await refusal(resize(vm, 2 ** 50));
    if (error.code !== "HOST_LIMIT") throw error;
    assert.is(error.data.wanted, 2 ** 50 - BOOT_BYTES);
    assert.ok(error.data.available > 0 && error.data.available < 2 ** 50);
    assert.equal(vm.changes, []);
  });

  s.test(`${memoryDevice}: growing with a signal that has fired changes nothing`, async () => {
    await using vm = await sizedVm({ memoryDevice });
    assert.is((await refusal(vm.sizing.resizeMemory(bytes(1 * GiB), { ...callFor(), signal: AbortSignal.abort() }))).code, "ABORTED");
    assert.equal(vm.changes, []);
  });

  s.test(`${memoryDevice}: growing for a caller that gives up before anything has changed changes nothing`, async () => {
    const caller = new AbortController();
    await using vm = await sizedVm({
      memoryDevice,
      intercept({ execute }) {
        if (execute === "qom-get" || execute === "query-memory-devices") caller.abort();
        return false;
      },
    });
    const growing = vm.sizing.resizeMemory(bytes(1 * GiB), { ...callFor(), signal: caller.signal });
    assert.is((await refusal(growing)).code, "ABORTED");
    assert.equal(vm.changes, []);
  });

  s.test(`${memoryDevice}: shrinking for a caller that has given up says how far it came`, async () => {
    await using vm = await sizedVm({
      memoryDevice,
      intercept(request, { growth, changes }, socket) {
        if (request.execute !== "device_del" && (request.execute !== "qom-set" || changes.length === 1)) return false;
        growth.requested = Number(request.arguments.value);
        answer(socket, request, {});
        return true;
      },
    });
    await resize(vm, 1 * GiB);
    const caller = new AbortController();
    const shrinking = vm.sizing.resizeMemory(bytes(BOOT_BYTES), { ...callFor(), signal: caller.signal });
    setImmediate(() => caller.abort());
    const { reached, shortfall } = await shrinking;
    assert.is(reached, 1 * GiB);
    assert.match(shortfall ?? "", /./);
  });

  s.test(`${memoryDevice}: a QEMU that dies in the middle is VM_FAILED`, async () => {
    const child = spawn("sleep", ["60"]);
    await once(child, "spawn");
    const identity = await identifyProcess(child.pid ?? 0);
    await using vm = await sizedVm({
      memoryDevice,
      ...(identity && { identity }),
      intercept({ execute }, { hangUp }) {
        if (execute !== "qom-set" && execute !== "device_add") return false;
        child.kill("SIGKILL");
        hangUp();
        return true;
      },
    });
    const error = await refusal(resize(vm, 1 * GiB));
    assert.is(error.code, "VM_FAILED");
    assert.match(error.message, 'Cannot resize the VM of sandbox "box": its QEMU has ended');
  });
}

s.run();
