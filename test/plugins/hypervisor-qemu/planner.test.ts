import { open } from "node:fs/promises";
import { join } from "node:path";
import type { Bytes, DiskIntent, ShareIntent } from "tapvisor/plugin";
import * as assert from "uvu/assert";
import { plugDisk } from "../../../plugins/hypervisor-qemu/disk-device.ts";
import { checkDiskSource } from "../../../plugins/hypervisor-qemu/disk-source.ts";
import { planResize } from "../../../plugins/hypervisor-qemu/plan-resize.ts";
import { qemuPlanner } from "../../../plugins/hypervisor-qemu/planner.ts";
import { plugShare } from "../../../plugins/hypervisor-qemu/share-device.ts";
import { suite } from "../../support/suite.ts";
import { tempDirectory } from "../../support/temp.ts";
import { diskIntent } from "./support/disk-intent.ts";
import { rawImage } from "./support/disks.ts";
import { refusal } from "./support/refusal.ts";
import { scriptedMachine } from "./support/scripted-machine.ts";
import { call, qemu } from "./support/world.ts";

const s = suite("hypervisor-qemu planner");

s.test("a disk's plan is what plugging it sends, for both drivers", async () => {
  await using temp = await tempDirectory();
  const path = await rawImage(join(temp.path, "disk.img"));
  for (const driver of ["virtio-scsi", "virtio-blk"] as const) {
    const intent = diskIntent(path, { driver, index: 7, readonly: true });
    await using vm = await scriptedMachine();
    // QEMU is this process here: it has the file open.
    await using _file = await open(path);
    await plugDisk(vm.machine, intent, await checkDiskSource(intent), call());
    assert.equal(qemuPlanner.disk(intent), vm.changes);
  }
});

s.test("a share's plan is what plugging it sends", async () => {
  const intent = { vm: { runDirectory: "/run/box" }, id: "web", directory: "/run/box/share-web" } as ShareIntent;
  await using vm = await scriptedMachine();
  await plugShare(vm.machine, intent.id, join(intent.directory, "fs.sock"), new Promise<never>(() => {}), call());
  assert.equal(qemuPlanner.share(intent), vm.changes);
});

s.test("a QEMU with a user of its own reaches a share's server by its working directory, and none that is elsewhere", () => {
  const details = { user: { uid: 1, name: "daemon", gid: 1, group: "daemon" } };
  const vm = { runDirectory: "/root/box", details } as unknown as ShareIntent["vm"];
  const planned = qemuPlanner.share({ vm, id: "web", directory: "/root/box/share-web" } as ShareIntent);
  assert.match(JSON.stringify(planned), '"path":"/proc/self/cwd/share-web/fs.sock"');
  assert.throws(
    () => qemuPlanner.share({ vm, id: "web", directory: "/root/boxes/web" } as ShareIntent),
    /wanted one in the VM's run directory/,
  );
});

s.test("a plan knows a block device by its node, and by its name where the node is not there", () => {
  const driverOf = (path: string) => (qemuPlanner.disk(diskIntent(path))[0]?.arguments.file as { driver: string } | undefined)?.driver;
  assert.equal(["/dev/null", "/dev/no-such-disk", "/no-such-file.img"].map(driverOf), ["file", "host_device", "file"]);
});

s.test("a resize's plan is the sizing's own", () => {
  const size = (vcpus: number, MiB: number) => ({ vcpus, memoryBytes: (MiB * 2 ** 20) as Bytes });
  const sizes = [size(1, 512), size(3, 768), size(4, 1024)] as const;
  assert.equal(qemuPlanner.resize(...sizes), planResize(...sizes));
  assert.is(qemuPlanner.resize(...sizes).length, 3);
});

s.test("a plan refuses what plugging would", async () => {
  const error = await refusal((async () => qemuPlanner.disk(diskIntent("/disk.img", { id: "../x" }) satisfies DiskIntent))());
  assert.is(error.code === "INVALID_INPUT" && error.data.path, "disk.id");
});

s.test("the provider has the planner, and says which drivers disks can have, the preferred one first", async () => {
  const hypervisor = await qemu();
  assert.is(hypervisor.planner, qemuPlanner);
  assert.equal(hypervisor.capabilities.diskDrivers, ["virtio-scsi", "virtio-blk"]);
});

s.run();
