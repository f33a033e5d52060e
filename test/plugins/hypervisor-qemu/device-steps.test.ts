import type { DiskIntent, PlannedCommand } from "tapvisor/plugin";
import * as assert from "uvu/assert";
import { performSteps, type Step, undoSteps } from "../../../plugins/hypervisor-qemu/device-steps.ts";
import { diskSteps } from "../../../plugins/hypervisor-qemu/disk-device.ts";
import { nicSteps } from "../../../plugins/hypervisor-qemu/nic.ts";
import { vfioSteps } from "../../../plugins/hypervisor-qemu/vfio.ts";
import { shareSteps, vhostUserSteps } from "../../../plugins/hypervisor-qemu/vhost-user.ts";
import { suite } from "../../support/suite.ts";
import { diskIntent } from "./support/disk-intent.ts";
import { refusal } from "./support/refusal.ts";
import { refuseWith, scriptedMachine } from "./support/scripted-machine.ts";
import { call } from "./support/world.ts";

const s = suite("hypervisor-qemu device steps");

const disk = (amend: Partial<DiskIntent>) => diskSteps(diskIntent("/disk.img", amend), "file");
const MAC = "52:54:00:12:34:56";
const PLANS: readonly [string, readonly Step[]][] = [
  ["a SCSI disk", disk({})],
  ["a virtio-blk disk of qcow2", disk({ driver: "virtio-blk", format: "qcow2" })],
  ["a share", shareSteps("web", "/run/fs.sock")],
  ["an IOMMU group of three", vfioSteps({ id: "gpu", devices: ["0", "1", "2"].map((n) => ({ host: `0000:01:00.${n}` })) })],
  ["a vhost-user disk", vhostUserSteps({ kind: "blk", id: "spdk", socket: "/run/blk.sock" })],
  ["a vhost-user SCSI controller", vhostUserSteps({ kind: "scsi", id: "spdk", socket: "/run/scsi.sock" })],
  ["a vhost-user network card", vhostUserSteps({ kind: "net", id: "ovs", socket: "/run/net.sock", mac: MAC })],
  ["a network card on a tap", nicSteps({ id: "lan", mac: MAC, network: { kind: "tap", interface: "tap0", queues: 1 } })],
  ["a network card on the user network", nicSteps({ id: "lan", mac: MAC, network: { kind: "user", restrict: true } })],
];

const perform = async (machine: Parameters<typeof performSteps>[0], steps: readonly Step[], signal = call().signal) =>
  performSteps(machine, "it", { ...call(), signal }, async (run) => {
    for (const step of steps) await run(step);
  });
const commandsOf = (steps: readonly Step[]): PlannedCommand[] => steps.map(({ command }) => command);
const undosOf = (steps: readonly Step[]): PlannedCommand[] => steps.map(({ undo }) => undo).reverse();

for (const [name, steps] of PLANS) {
  s.test(`${name} is plugged in order and taken back in reverse order`, async () => {
    await using vm = await scriptedMachine();
    await perform(vm.machine, steps);
    assert.is(vm.world.size, steps.length);
    await undoSteps(vm.machine, "it", steps, call().signal);
    assert.equal(vm.changes, [...commandsOf(steps), ...undosOf(steps)]);
    assert.equal([...vm.world], []);
  });

  for (const [index, { command }] of steps.entries()) {
    const nth = `command ${index + 1} (${command.command})`;
    s.test(`${name}: when QEMU refuses ${nth}, exactly those before it are taken back, in reverse order`, async () => {
      await using vm = await scriptedMachine((request, socket) => {
        if (vm.changes.length !== index + 1) return false;
        refuseWith(socket, request, "no such luck");
        return true;
      });
      const error = await refusal(perform(vm.machine, steps));
      assert.match(error.message, `"${command.command}": no such luck`);
      assert.equal(vm.changes, [...commandsOf(steps.slice(0, index + 1)), ...undosOf(steps.slice(0, index))]);
      assert.equal([...vm.world], []);
    });

    s.test(`${name}: when the caller gives up on ${nth}, which QEMU then does, it is taken back with those before it`, async () => {
      const control = new AbortController();
      await using vm = await scriptedMachine((_, socket, change) => {
        if (vm.changes.length !== index + 1) return false;
        control.abort();
        socket.pause(); // what comes in after it waits behind it
        setTimeout(() => {
          change();
          socket.resume();
        }, 20);
        return true;
      });
      const error = await refusal(perform(vm.machine, steps, control.signal));
      assert.is(error.code, "ABORTED");
      assert.equal(vm.changes, [...commandsOf(steps.slice(0, index + 1)), ...undosOf(steps.slice(0, index + 1))]);
      assert.equal([...vm.world], []);
    });
  }
}

s.test("what never happened is taken back with success, whatever the backend", async () => {
  await using vm = await scriptedMachine();
  for (const [, steps] of PLANS) await undoSteps(vm.machine, "it", steps, call().signal);
  assert.equal([...vm.world], []);
});

s.test("an undo that fails does not hide why it was made", async () => {
  await using vm = await scriptedMachine((request, socket) => {
    if (request.execute === "blockdev-add") return false;
    refuseWith(socket, request, request.execute === "device_add" ? "no such luck" : "nor that");
    return true;
  });
  assert.match((await refusal(perform(vm.machine, disk({})))).message, /no such luck/);
});

s.test("a backend that a deleted device still holds is tried again until it is free", async () => {
  const words: Readonly<Record<string, string>> = {
    "blockdev-del": "Node disk-data is in use",
    "chardev-remove": "Chardev 'share-web-socket' is busy",
  };
  for (const steps of [disk({}), shareSteps("web", "/run/fs.sock")]) {
    let left = 3;
    await using vm = await scriptedMachine((request, socket) => {
      const desc = words[request.execute];
      if (desc === undefined || left === 0) return false;
      left -= 1;
      refuseWith(socket, request, desc);
      return true;
    });
    await perform(vm.machine, steps);
    await undoSteps(vm.machine, "it", steps, call().signal);
    assert.is(left, 0);
    assert.equal([...vm.world], []);
  }
});

s.test("a backend that is never freed ends with the caller's patience, naming it", async () => {
  await using vm = await scriptedMachine((request, socket) => {
    if (request.execute !== "blockdev-del") return false;
    refuseWith(socket, request, "Node disk-data is in use");
    return true;
  });
  await perform(vm.machine, disk({}));
  const error = await refusal(undoSteps(vm.machine, 'disk "data"', disk({}), AbortSignal.timeout(50)));
  assert.is(error.code, "ABORTED");
  assert.match(error.message, 'what is behind disk "data"');
});

s.run();
