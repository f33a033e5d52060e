import type { DiskIntent, PlannedCommand } from "tapvisor/plugin";
import * as assert from "uvu/assert";
import type { Step } from "../../../plugins/hypervisor-qemu/device-steps.ts";
import { diskSteps } from "../../../plugins/hypervisor-qemu/disk-device.ts";
import { nicSteps } from "../../../plugins/hypervisor-qemu/nic.ts";
import { vfioDevice, vfioSteps } from "../../../plugins/hypervisor-qemu/vfio.ts";
import { shareSteps, vhostUserSteps } from "../../../plugins/hypervisor-qemu/vhost-user.ts";
import { suite } from "../../support/suite.ts";
import { diskIntent } from "./support/disk-intent.ts";
import { refusal } from "./support/refusal.ts";

const s = suite("hypervisor-qemu plans");
const MAC = "52:54:00:12:34:56";
const UUID = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001";

/** Every command of a plan and of its undo. */
function golden(steps: readonly Step[], commands: readonly [string, object][], undos: readonly [string, object][]): void {
  const plain = ({ command, arguments: args }: PlannedCommand) => [command, args];
  assert.equal(
    steps.map(({ command }) => plain(command)),
    commands,
  );
  assert.equal(steps.map(({ undo }) => plain(undo)).reverse(), undos);
}

s.test("a raw SCSI disk: id and LUN from its index, writable, trimmed, locked", () => {
  const file = { driver: "file", filename: "/d,1.img", locking: "on", "read-only": false, discard: "unmap" };
  golden(
    diskSteps(diskIntent("/d,1.img", { index: 515 }), "file"),
    [
      ["blockdev-add", { "node-name": "disk-data", driver: "raw", "read-only": false, discard: "unmap", file }],
      ["device_add", { driver: "scsi-hd", id: "disk-data", bus: "scsi.0", "scsi-id": 2, lun: 3, drive: "disk-data", serial: "data" }],
    ],
    [
      ["device_del", { id: "disk-data" }],
      ["blockdev-del", { "node-name": "disk-data" }],
    ],
  );
});

s.test("a qcow2 block device as virtio-blk: read-only at both levels, no backing file, a serial that virtio-blk can show", () => {
  const intent = diskIntent("/dev/sdb", { format: "qcow2", readonly: true, driver: "virtio-blk", id: "a-database-of-the-shop" });
  const file = { driver: "host_device", filename: "/dev/sdb", locking: "on", "read-only": true, discard: "unmap" };
  const node = "disk-a-database-of-the-shop";
  golden(
    diskSteps(intent, "host_device"),
    [
      ["blockdev-add", { "node-name": node, driver: "qcow2", "read-only": true, discard: "unmap", backing: null, file }],
      ["device_add", { driver: "virtio-blk-pci", id: node, bus: "bridge", drive: node, serial: "a-database-of-the-sh" }],
    ],
    [
      ["device_del", { id: node }],
      ["blockdev-del", { "node-name": node }],
    ],
  );
});

s.test("the first and the last index of the SCSI bus", () => {
  const place = (index: number) => {
    const { "scsi-id": id, lun } = diskSteps(diskIntent("/d", { index }), "file")[1].command.arguments;
    return `${id}:${lun}`;
  };
  assert.equal([0, 255, 256, 65_535].map(place), ["0:0", "0:255", "1:0", "255:255"]);
});

s.test("ids of 31 characters that differ in the last one have node names of at most 31 that differ", () => {
  const nodeOf = (id: string) => String(diskSteps(diskIntent("/d", { id }), "file")[0].command.arguments["node-name"]);
  const names = ["1", "2"].map((last) => nodeOf(`${"x".repeat(30)}${last}`));
  assert.ok(names.every((name) => name.length <= 31));
  assert.is.not(names[0], names[1]);
  assert.is(nodeOf("x".repeat(26)), `disk-${"x".repeat(26)}`);
});

const DISKS: readonly [string, Partial<DiskIntent>][] = [
  ["disk.id", { id: "../x" }],
  ["disk.id", { id: "a/b" }],
  ["disk.id", { id: "x".repeat(32) }],
  ["disk.path", { path: "disk.img" }],
  ["disk.path", { path: "/disk\0" }],
  ["disk.format", { format: "vmdk" as never }],
  ["disk.driver", { driver: "ide" as never }],
  ["disk.index", { index: -1 }],
  ["disk.index", { index: 1.5 }],
  ["disk.index", { index: 65_536 }],
];
for (const [field, change] of DISKS) {
  s.test(`${field} ${JSON.stringify(Object.values(change)[0])} is refused by name`, async () => {
    const error = await refusal((async () => diskSteps(diskIntent("/disk.img", change), "file"))());
    assert.is(error.code === "INVALID_INPUT" && error.data.path, field);
  });
}

s.test("a share: the connection to its server, then the device", () => {
  const backend = { type: "socket", data: { addr: { type: "unix", data: { path: "/run/fs.sock" } }, server: false } };
  golden(
    shareSteps("web", "/run/fs.sock"),
    [
      ["chardev-add", { id: "share-web-socket", backend }],
      ["device_add", { driver: "vhost-user-fs-pci", id: "share-web", bus: "bridge", chardev: "share-web-socket", tag: "web" }],
    ],
    [
      ["device_del", { id: "share-web" }],
      ["chardev-remove", { id: "share-web-socket" }],
    ],
  );
});

for (const kind of ["blk", "scsi"] as const) {
  s.test(`a vhost-user ${kind} device: the connection to its server, then the device`, () => {
    const backend = { type: "socket", data: { addr: { type: "unix", data: { path: "/run/s.sock" } }, server: false } };
    golden(
      vhostUserSteps({ kind, id: "spdk", socket: "/run/s.sock" }),
      [
        ["chardev-add", { id: "vhost-user-spdk-socket", backend }],
        ["device_add", { driver: `vhost-user-${kind}-pci`, id: "vhost-user-spdk", bus: "bridge", chardev: "vhost-user-spdk-socket" }],
      ],
      [
        ["device_del", { id: "vhost-user-spdk" }],
        ["chardev-remove", { id: "vhost-user-spdk-socket" }],
      ],
    );
  });
}

s.test("a vhost-user network card: connection, network, device", () => {
  const backend = { type: "socket", data: { addr: { type: "unix", data: { path: "/run/n.sock" } }, server: false } };
  golden(
    vhostUserSteps({ kind: "net", id: "ovs", socket: "/run/n.sock", mac: MAC }),
    [
      ["chardev-add", { id: "vhost-user-ovs-socket", backend }],
      ["netdev_add", { type: "vhost-user", id: "vhost-user-ovs-net", chardev: "vhost-user-ovs-socket" }],
      ["device_add", { driver: "virtio-net-pci", id: "vhost-user-ovs", bus: "bridge", netdev: "vhost-user-ovs-net", mac: MAC }],
    ],
    [
      ["device_del", { id: "vhost-user-ovs" }],
      ["netdev_del", { id: "vhost-user-ovs-net" }],
      ["chardev-remove", { id: "vhost-user-ovs-socket" }],
    ],
  );
});

s.test("a network card on a tap of four queues: no script of QEMU's, an interrupt for each direction of a queue and two more", () => {
  golden(
    nicSteps({ id: "lan", mac: MAC, network: { kind: "tap", interface: "tap0", queues: 4 } }),
    [
      ["netdev_add", { type: "tap", id: "nic-lan-net", ifname: "tap0", script: "no", downscript: "no", queues: 4 }],
      ["device_add", { driver: "virtio-net-pci", id: "nic-lan", bus: "bridge", netdev: "nic-lan-net", mac: MAC, mq: true, vectors: 10 }],
    ],
    [
      ["device_del", { id: "nic-lan" }],
      ["netdev_del", { id: "nic-lan-net" }],
    ],
  );
});

s.test("a network card on QEMU's user network, restricted", () => {
  golden(
    nicSteps({ id: "lan", mac: MAC, network: { kind: "user", restrict: true } }),
    [
      ["netdev_add", { type: "user", id: "nic-lan-net", restrict: true }],
      ["device_add", { driver: "virtio-net-pci", id: "nic-lan", bus: "bridge", netdev: "nic-lan-net", mac: MAC }],
    ],
    [
      ["device_del", { id: "nic-lan" }],
      ["netdev_del", { id: "nic-lan-net" }],
    ],
  );
});

s.test("an IOMMU group of a PCI function and a mediated device: all of it, one after another", () => {
  const sysfsdev = `/sys/devices/pci0000:00/0000:00:02.0/${UUID}`;
  golden(
    vfioSteps({ id: "gpu", devices: [{ host: "0000:01:00.1" }, { sysfsdev }] }),
    [
      ["device_add", { driver: "vfio-pci", id: "vfio-gpu-0", bus: "bridge", host: "0000:01:00.1" }],
      ["device_add", { driver: "vfio-pci", id: "vfio-gpu-1", bus: "bridge", sysfsdev }],
    ],
    [
      ["device_del", { id: "vfio-gpu-1" }],
      ["device_del", { id: "vfio-gpu-0" }],
    ],
  );
});

s.test("an entry of an IOMMU group is a PCI function, a mediated device, or refused", async () => {
  assert.equal(vfioDevice("0000:01:00.0", "/sys/devices/pci0000:00/0000:01:00.0"), { host: "0000:01:00.0" });
  assert.equal(vfioDevice(UUID, `/sys/devices/x/${UUID}`), { sysfsdev: `/sys/devices/x/${UUID}` });
  for (const name of ["0000:01:00", "01:00.0", "0000:01:00.8", "0000:01:20.0", UUID.slice(1), ""]) {
    const error = await refusal((async () => vfioDevice(name, `/sys/${name}`))());
    assert.is(error.code === "INVALID_INPUT" && error.data.path, "vfio.device");
  }
});

const OTHERS: readonly [string, () => unknown][] = [
  ["vhost-user.id", () => vhostUserSteps({ kind: "blk", id: "../x", socket: "/s" })],
  ["vhost-user.socket", () => vhostUserSteps({ kind: "blk", id: "x", socket: "s" })],
  ["vhost-user.mac", () => vhostUserSteps({ kind: "net", id: "x", socket: "/s", mac: "01:54:00:12:34:56" })],
  ["share.id", () => shareSteps("a,b", "/s")],
  ["nic.id", () => nicSteps({ id: "a,b", mac: MAC, network: { kind: "user", restrict: false } })],
  ["nic.mac", () => nicSteps({ id: "a", mac: "52:54:00:12:34", network: { kind: "user", restrict: false } })],
  ["nic.network.interface", () => nicSteps({ id: "a", mac: MAC, network: { kind: "tap", interface: "a/b", queues: 1 } })],
  ["nic.network.interface", () => nicSteps({ id: "a", mac: MAC, network: { kind: "tap", interface: "sixteen-letters-", queues: 1 } })],
  ["nic.network.queues", () => nicSteps({ id: "a", mac: MAC, network: { kind: "tap", interface: "tap0", queues: 0 } })],
  ["vfio.id", () => vfioSteps({ id: "../x", devices: [{ host: "0000:01:00.0" }] })],
  ["vfio.devices", () => vfioSteps({ id: "x", devices: [] })],
  ["vfio.devices", () => vfioSteps({ id: "x", devices: [{ host: "0000:01:00.0" }, { host: "0000:01:00.0" }] })],
  ["vfio.devices[0].host", () => vfioSteps({ id: "x", devices: [{ host: "../../x" }] })],
  ["vfio.devices[0].sysfsdev", () => vfioSteps({ id: "x", devices: [{ sysfsdev: `/sys/../tmp/${UUID}` }] })],
  ["vfio.devices[0].sysfsdev", () => vfioSteps({ id: "x", devices: [{ sysfsdev: `/tmp/${UUID}` }] })],
];
for (const [index, [field, plan]] of OTHERS.entries()) {
  s.test(`${field} is refused by name (${index})`, async () => {
    const error = await refusal((async () => plan())());
    assert.is(error.code === "INVALID_INPUT" && error.data.path, field);
  });
}

s.run();
