import type { Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import * as assert from "uvu/assert";
import { refusalIn, unplugDevice } from "../../../plugins/hypervisor-qemu/unplug-device.ts";
import { suite } from "../../support/suite.ts";
import { answer, event } from "./support/fake-qmp.ts";
import { refusal } from "./support/refusal.ts";
import { refuseWith, type ScriptedMachine, scriptedMachine } from "./support/scripted-machine.ts";
import { call } from "./support/world.ts";

const s = suite("hypervisor-qemu unplug");

/** A VM with a device `x` that QEMU asks the guest about, and what the guest does then. */
async function asked(guest: (vm: ScriptedMachine, socket: Socket) => void): Promise<ScriptedMachine> {
  const vm: ScriptedMachine = await scriptedMachine((request, socket) => {
    answer(socket, request, {});
    guest(vm, socket);
    return true;
  });
  vm.world.add("device x");
  return vm;
}

const unplug = ({ machine }: ScriptedMachine, { timeoutMs = 2_000, signal = call().signal } = {}) =>
  unplugDevice(machine, { id: "x", what: 'disk "x"', signal, timeoutMs });
const deleted = (socket: Socket, device: string) => event(socket, "DEVICE_DELETED", { device, path: `/machine/peripheral/${device}` });

s.test("a device that is not there is success, and the guest is not asked", async () => {
  await using vm = await asked(() => {});
  vm.world.clear();
  await unplug(vm);
  assert.equal(vm.changes, []);
});

s.test("QEMU's word that it has gone ends the wait; words about its parts and about others do not", async () => {
  let gone = false;
  await using vm = await asked(async ({ world }, socket) => {
    event(socket, "DEVICE_DELETED", { path: "/machine/peripheral/x/virtio-backend" });
    deleted(socket, "y");
    await delay(30);
    world.delete("device x");
    gone = true;
    deleted(socket, "x");
  });
  await unplug(vm);
  assert.ok(gone);
});

s.test("a device that goes without a word is seen to have gone", async () => {
  await using vm = await asked(({ world }) => setTimeout(() => world.delete("device x"), 30));
  await unplug(vm);
});

s.test("a control connection that is lost meanwhile is made anew, and the device seen to have gone", async () => {
  await using vm = await asked(({ world }, socket) => {
    setTimeout(() => {
      world.delete("device x");
      socket.destroy();
    }, 30);
  });
  await unplug(vm);
});

s.test("a guest that reports an error ends the wait with DEVICE_IN_USE", async () => {
  await using vm = await asked((_, socket) => event(socket, "DEVICE_UNPLUG_GUEST_ERROR", { device: "x", path: "/machine/peripheral/x" }));
  const error = await refusal(unplug(vm, { timeoutMs: 20_000 }));
  assert.equal([error.code, error.data], ["DEVICE_IN_USE", { id: "x", reason: "the guest reports an error" }]);
  assert.match(error.message, 'disk "x"');
});

s.test("a guest whose ACPI answer is a refusal ends the wait with DEVICE_IN_USE and its status", async () => {
  await using vm = await asked((_, socket) => {
    for (const [device, source, status] of [
      ["y", 3, 1],
      ["x", 1, 1],
      ["x", 3, 0x84],
    ] as const) {
      event(socket, "ACPI_DEVICE_OST", { info: { device, source, status, slot: "0", "slot-type": "DIMM" } });
    }
    event(socket, "ACPI_DEVICE_OST", { info: { device: "x", source: 3, status: 0x82, slot: "0", "slot-type": "DIMM" } });
  });
  const error = await refusal(unplug(vm, { timeoutMs: 20_000 }));
  assert.is(error.code === "DEVICE_IN_USE" && error.data.reason, "the guest's ACPI status is 130");
});

s.test("an ACPI answer of success, of progress, to another question or about another device is no refusal", () => {
  const ost = (device: string, source: number, status: number) => ({
    event: "ACPI_DEVICE_OST",
    data: { info: { device, source, status } },
  });
  assert.equal(
    [ost("x", 3, 0), ost("x", 3, 0x84), ost("x", 1, 1), ost("y", 3, 1)].map((each) => refusalIn("x", each)),
    [undefined, undefined, undefined, undefined],
  );
  assert.is(refusalIn("x", { event: "DEVICE_UNPLUG_GUEST_ERROR", data: { path: "/machine/peripheral/y" } }), undefined);
});

s.test("a guest that says nothing ends the wait at its deadline, and a later call is not told that it was asked before", async () => {
  let asks = 0;
  await using vm: ScriptedMachine = await scriptedMachine((request, socket) => {
    asks += 1;
    if (asks === 1) answer(socket, request, {});
    else {
      refuseWith(socket, request, "Device x is already in the process of unplug");
      vm.world.delete("device x");
      deleted(socket, "x");
    }
    return true;
  });
  vm.world.add("device x");
  const error = await refusal(unplug(vm, { timeoutMs: 50 }));
  assert.is(error.code, "TIMEOUT");
  assert.match(error.message, 'the guest to let go of disk "x"');
  await unplug(vm);
});

s.test("a device that QEMU does not find although it had it is gone", async () => {
  await using vm: ScriptedMachine = await scriptedMachine((request, socket) => {
    vm.world.delete("device x");
    refuseWith(socket, request, "Device 'x' not found", "DeviceNotFound");
    return true;
  });
  vm.world.add("device x");
  await unplug(vm);
});

s.test("what QEMU refuses to take out fails at once, with its words", async () => {
  await using vm: ScriptedMachine = await scriptedMachine((request, socket) => {
    refuseWith(socket, request, "Bus 'pcie.0' does not support hotplugging");
    return true;
  });
  vm.world.add("device x");
  const error = await refusal(unplug(vm, { timeoutMs: 20_000 }));
  assert.match(error.message, /does not support hotplugging/);
});

s.test("the caller's signal ends the wait", async () => {
  await using vm = await asked(() => {});
  assert.is((await refusal(unplug(vm, { timeoutMs: 20_000, signal: AbortSignal.timeout(30) }))).code, "ABORTED");
});

s.run();
