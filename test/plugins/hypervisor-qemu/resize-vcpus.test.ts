import { setTimeout as delay } from "node:timers/promises";
import * as assert from "uvu/assert";
import { suite } from "../../support/suite.ts";
import { event } from "./support/fake-qmp.ts";
import { refusal } from "./support/refusal.ts";
import { callFor, refuse, sizedVm } from "./support/sized-vm.ts";

const s = suite("hypervisor-qemu vCPUs");

const plug = (index: number) => `device_add cpu-${index} {"driver":"max-x86_64-cpu","core-id":${index},"thread-id":0,"socket-id":0}`;

s.test("vCPUs are plugged lowest index first, as QEMU describes them, though it lists the highest first", async () => {
  await using vm = await sizedVm();
  assert.equal(await vm.sizing.resizeVcpus(3, callFor()), { reached: 3 });
  assert.equal(vm.changes, [plug(1), plug(2)]);
  assert.is((await vm.sizing.size(callFor())).vcpus, 3);
});

s.test("asking again for what there is changes nothing", async () => {
  await using vm = await sizedVm({ bootVcpus: 2 });
  for (let time = 0; time < 2; time++) assert.equal(await vm.sizing.resizeVcpus(3, callFor()), { reached: 3 });
  assert.equal(vm.changes, [plug(2)]);
});

s.test("a vCPU that QEMU refuses ends the growth with what there is and QEMU's reason", async () => {
  await using vm = await sizedVm({
    intercept: ({ execute, id, arguments: args }, _, socket) =>
      execute === "device_add" && args.id === "cpu-2" && refuse(socket, { execute, id, arguments: args }, "CPU[2] with APIC ID 2 exists"),
  });
  const { reached, shortfall } = await vm.sizing.resizeVcpus(4, callFor());
  assert.is(reached, 2);
  assert.match(shortfall ?? "", "CPU[2] with APIC ID 2 exists");
  assert.is((await vm.sizing.size(callFor())).vcpus, 2);
});

s.test("two growths at once come one after the other", async () => {
  await using vm = await sizedVm();
  const both = await Promise.all([vm.sizing.resizeVcpus(2, callFor()), vm.sizing.resizeVcpus(4, callFor())]);
  assert.equal(both, [{ reached: 2 }, { reached: 4 }]);
  assert.equal(vm.changes, [plug(1), plug(2), plug(3)]);
});

s.test("a target above the limit is refused with both numbers, one that is no number by name, and QEMU is not asked", async () => {
  await using vm = await sizedVm();
  const above = await refusal(vm.sizing.resizeVcpus(5, callFor()));
  assert.equal([above.code, above.data], ["VM_LIMIT", { what: "vcpus", wanted: 5, available: 4 }]);
  assert.match(above.message, 'Cannot grow the VM of sandbox "box" to 5 vCPUs: it booted with 1 vCPUs and can have at most 4 vCPUs');
  for (const target of [0, -1, 1.5, Number.NaN]) {
    const error = await refusal(vm.sizing.resizeVcpus(target, callFor()));
    assert.is(error.code === "INVALID_INPUT" && error.data.path, "vcpus");
  }
  assert.equal(vm.changes, []);
});

s.test("under emulation nothing is taken away, and that is no shortfall", async () => {
  await using vm = await sizedVm({ accelerator: "tcg" });
  await vm.sizing.resizeVcpus(3, callFor());
  vm.changes.length = 0;
  for (const target of [2, 1]) assert.equal(await vm.sizing.resizeVcpus(target, callFor()), { reached: 3 });
  assert.equal(vm.changes, []);
});

s.test("under KVM the highest index goes first, and none that the VM booted with; QEMU tells of no end", async () => {
  await using vm = await sizedVm({ accelerator: "kvm", bootVcpus: 2 });
  await vm.sizing.resizeVcpus(4, callFor());
  vm.changes.length = 0;
  const { reached, shortfall } = await vm.sizing.resizeVcpus(1, callFor());
  assert.equal([reached, shortfall], [2, "the VM booted with 2 vCPUs"]);
  assert.equal(vm.changes, ["device_del cpu-3", "device_del cpu-2"]);
});

s.test("a guest that refuses keeps its vCPU, and its answer is the reason", async () => {
  await using vm = await sizedVm({
    accelerator: "kvm",
    intercept({ execute, id }, _, socket) {
      if (execute !== "device_del") return false;
      socket.write(`${JSON.stringify({ return: {}, id })}\r\n`);
      event(socket, "ACPI_DEVICE_OST", { info: { device: "cpu-2", slot: "2", "slot-type": "CPU", source: 3, status: 1 } });
      return true;
    },
  });
  await vm.sizing.resizeVcpus(3, callFor());
  const { reached, shortfall } = await vm.sizing.resizeVcpus(1, callFor());
  assert.is(reached, 3);
  assert.match(shortfall ?? "", /ACPI status is 1/);
});

s.test("a guest that does not answer is waited for until the caller gives up", async () => {
  await using vm = await sizedVm({
    accelerator: "kvm",
    intercept({ execute, id }, _, socket) {
      if (execute !== "device_del") return false;
      socket.write(`${JSON.stringify({ return: {}, id })}\r\n`);
      return true;
    },
  });
  await vm.sizing.resizeVcpus(2, callFor());
  const { reached, shortfall } = await vm.sizing.resizeVcpus(1, callFor(100));
  assert.is(reached, 2);
  assert.match(shortfall ?? "", /vCPU "cpu-1"/);
});

s.test("a vCPU that goes while nobody listens any more is counted out", async () => {
  await using vm = await sizedVm({
    accelerator: "kvm",
    intercept({ execute, id }, { vcpus }, socket) {
      if (execute !== "device_del") return false;
      socket.write(`${JSON.stringify({ return: {}, id })}\r\n`);
      void delay(20).then(() => {
        vcpus.delete(1);
        event(socket, "DEVICE_UNPLUG_GUEST_ERROR", { device: "cpu-1" });
      });
      return true;
    },
  });
  await vm.sizing.resizeVcpus(2, callFor());
  assert.equal(await vm.sizing.resizeVcpus(1, callFor()), { reached: 1 });
});

s.run();
