import { type GuestDisk, type GuestStorage, MiB } from "tapvisor/plugin";
import { quietCall } from "tapvisor/testing";
import * as assert from "uvu/assert";
import { containerRequest } from "../../support/fake-guest.ts";
import { rejects } from "../../support/rejects.ts";
import { suite } from "../../support/suite.ts";
import { growingGuest } from "../../testing/support/growing-guest.ts";

const s = suite("agent-fake disks");

const status = async (work: Promise<unknown>) => (await rejects(work, "AGENT_FAILED")).data.status;
const mounted = (disk: GuestDisk): GuestStorage => ({
  driver: disk.driver,
  source: disk.address,
  fstype: "ext4",
  options: [],
  mountPoint: "/run/disk",
});

s.test("a disk is found by its driver and address, with the size of its image, and not when it has been unplugged", async () => {
  await using w = await growingGuest();
  const intent = await w.diskIntent("a");
  const { guest: scsi } = await w.disk.acquire(intent, quietCall());
  const { guest: blk } = await w.disk.acquire(await w.diskIntent("b", { index: 1, driver: "virtio-blk" }), quietCall());
  assert.equal(await w.client.findDisk(scsi, quietCall()), { node: "/dev/sda", bytes: MiB });
  assert.equal(await w.client.findDisk(blk, quietCall()), { node: "/dev/vda", bytes: MiB });
  assert.is(await status(w.client.findDisk({ driver: "blk", address: scsi.address }, quietCall())), "DEADLINE_EXCEEDED");
  await w.disk.release({ intent, grant: undefined }, quietCall());
  assert.is(await status(w.client.findDisk(scsi, quietCall())), "DEADLINE_EXCEEDED");
  await w.client.releaseDisk(scsi, quietCall());
});

s.test("a container's device must be plugged in, have an absolute path and known permissions; the snapshot shows it", async () => {
  await using w = await growingGuest();
  const { guest: disk } = await w.disk.acquire(await w.diskIntent("data"), quietCall());
  const device = { disk, containerPath: "/dev/data", permissions: "rwm" };
  await w.container("c1", ["cat"], { devices: [device] });
  assert.equal(w.snapshot().guest.containers[0]?.devices, [device]);
  for (const [wrong, wanted] of [
    [{ disk: { ...disk, address: "0:1" } }, "DEADLINE_EXCEEDED"],
    [{ containerPath: "data" }, "INVALID_ARGUMENT"],
    [{ containerPath: "/dev/../data" }, "INVALID_ARGUMENT"],
    [{ permissions: "x" }, "INVALID_ARGUMENT"],
    [{ permissions: "" }, "INVALID_ARGUMENT"],
  ] as const) {
    const request = { ...containerRequest("c1", ["cat"]), container: "c2", devices: [{ ...device, ...wrong }] };
    assert.is(await status(w.client.createContainer(request, quietCall())), wanted);
  }
  const twice = { ...containerRequest("c1", ["cat"]), container: "c2", devices: [device, device] };
  assert.is(await status(w.client.createContainer(twice, quietCall())), "INVALID_ARGUMENT");
  assert.is(w.snapshot().guest.containers.length, 1);
});

s.test("a disk is mounted by its address, and a container can have its root on it", async () => {
  await using w = await growingGuest();
  const { guest: disk } = await w.disk.acquire(await w.diskIntent("data"), quietCall());
  const { spec } = containerRequest("c1", ["cat"]);
  const onDisk = (source: GuestDisk) => ({
    storages: [mounted(source)],
    spec: { ...spec, root: { path: "/run/disk/rootfs", readonly: false } },
  });
  const missing = { ...disk, address: "9:9" };
  assert.is(await status(w.container("c1", ["cat"], onDisk(missing))), "DEADLINE_EXCEEDED");
  await w.container("c2", ["cat"], onDisk(disk));
});

for (const [what, use] of [
  ["a container's device", (disk: GuestDisk) => ({ devices: [{ disk, containerPath: "/dev/data", permissions: "r" }] })],
  ["a container's storage", (disk: GuestDisk) => ({ storages: [...containerRequest("c1", []).storages, mounted(disk)] })],
] as const) {
  s.test(`a disk that is ${what} is in use until the container is removed, running or not`, async () => {
    await using w = await growingGuest();
    const { guest: disk } = await w.disk.acquire(await w.diskIntent("data"), quietCall());
    const process = await w.container("c1", ["cat"], use(disk));
    const releasing = () => w.client.releaseDisk(disk, quietCall());
    const error = await rejects(releasing(), "AGENT_FAILED");
    assert.equal([error.data.status, error.message.includes("container c1")], ["FAILED_PRECONDITION", true]);
    await w.client.startContainer("c1", quietCall());
    await w.client.closeStdin(process, quietCall());
    await w.client.waitProcess(process, quietCall());
    assert.is(await status(releasing()), "FAILED_PRECONDITION");
    await w.client.removeContainer("c1", quietCall());
    await releasing();
  });
}

s.test("a disk that the sandbox has mounted is in use", async () => {
  await using w = await growingGuest();
  const { guest: disk } = await w.disk.acquire(await w.diskIntent("data"), quietCall());
  await w.client.destroySandbox(quietCall());
  await w.client.createSandbox({ sandbox: "web", hostname: "web", storages: [mounted(disk)] }, quietCall());
  assert.is(await status(w.client.releaseDisk(disk, quietCall())), "FAILED_PRECONDITION");
});

s.run();
