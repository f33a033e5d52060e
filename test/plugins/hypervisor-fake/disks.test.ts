import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { quietCall } from "tapvisor/testing";
import * as assert from "uvu/assert";
import { rejects } from "../../support/rejects.ts";
import { suite } from "../../support/suite.ts";
import { growingGuest } from "../../testing/support/growing-guest.ts";

const s = suite("hypervisor-fake disks");

s.test("the snapshot shows each disk with its place, and the end of the VM takes them", async () => {
  await using w = await growingGuest();
  const intents = [await w.diskIntent("b", { index: 1, readonly: true, driver: "virtio-blk" }), await w.diskIntent("a")];
  for (const intent of intents) await w.disk.acquire(intent, quietCall());
  const [blk, scsi] = intents;
  assert.equal(w.snapshot().disks, [
    {
      id: "a",
      path: scsi?.path,
      format: "raw",
      readonly: false,
      driver: "virtio-scsi",
      index: 0,
      guest: { driver: "scsi", address: "0:0" },
    },
    { id: "b", path: blk?.path, format: "raw", readonly: true, driver: "virtio-blk", index: 1, guest: { driver: "blk", address: "10/01" } },
  ]);
  w.world.killVm("web");
  assert.equal(w.snapshot().disks, []);
});

s.test("a SCSI address is made of the index, 256 LUNs to an id", async () => {
  await using w = await growingGuest();
  for (const [index, address] of [
    [0, "0:0"],
    [255, "0:255"],
    [256, "1:0"],
    [300, "1:44"],
  ] as const) {
    assert.is((await w.disk.acquire(await w.diskIntent(`d${index}`, { index }), quietCall())).guest.address, address);
  }
});

s.test("a virtio-blk disk gets the lowest free slot of the bridge, and is VM_LIMIT when all 31 are taken", async () => {
  await using w = await growingGuest();
  const plug = async (index: number) =>
    (await w.disk.acquire(await w.diskIntent(`d${index}`, { index, driver: "virtio-blk" }), quietCall())).guest.address;
  const places = [];
  for (let index = 0; index < 31; index++) places.push(await plug(index));
  assert.equal([places[0], places[9], places[30]], ["10/01", "10/0a", "10/1f"]);
  assert.equal((await rejects(plug(31), "VM_LIMIT")).data, { what: "devices", wanted: 32, available: 31 });
  await w.disk.release({ intent: await w.diskIntent("d4"), grant: undefined }, quietCall());
  assert.is(await plug(31), "10/05");
});

s.test("a taken id and a taken index are refused, by either driver, and the message names the one that has it", async () => {
  await using w = await growingGuest();
  await w.disk.acquire(await w.diskIntent("first"), quietCall());
  const { path } = await w.diskIntent("other");
  for (const driver of ["virtio-scsi", "virtio-blk"] as const) {
    await rejects(w.disk.acquire(await w.diskIntent("first", { index: 1, driver, path }), quietCall()), "VM_COMMAND_FAILED");
    const error = await rejects(w.disk.acquire(await w.diskIntent("second", { driver }), quietCall()), "VM_COMMAND_FAILED");
    assert.match(error.message, 'disk "first" has index 0');
  }
  assert.is(w.snapshot().disks.length, 1);
});

s.test("what QEMU could not plug is INVALID_INPUT, and the field is named", async () => {
  await using w = await growingGuest();
  const intent = await w.diskIntent("data");
  const [empty, qcow2] = ["empty", "qcow2"].map((name) => join(w.rootfs, name)) as [string, string];
  await writeFile(empty, "");
  await writeFile(qcow2, Buffer.from("QFI\xfb\0\0\0\x03", "latin1"));
  for (const wrong of [
    { id: "x".repeat(32) },
    { id: "" },
    { id: "../data" },
    { path: "relative" },
    { path: w.rootfs },
    { path: "/nonexistent" },
    { path: empty },
    { index: -1 },
    { index: 0.5 },
    { format: "qcow2" },
  ] as const) {
    const error = await rejects(w.disk.acquire({ ...intent, ...wrong }, quietCall()), "INVALID_INPUT").catch((failure) => {
      throw new Error(`${JSON.stringify(wrong)}: ${failure}`);
    });
    assert.is(error.data.path, `disk.${Object.keys(wrong)[0]}`);
  }
  const raw = await rejects(w.disk.acquire({ ...intent, path: qcow2 }, quietCall()), "INVALID_INPUT");
  assert.equal([raw.data.path, raw.data.wanted], ["disk.format", '"qcow2"']);
  assert.equal(w.snapshot().disks, []);
  await w.disk.acquire({ ...intent, path: qcow2, format: "qcow2" }, quietCall());
});

s.test("an image that is written to is in one disk only, whichever VM it is in; one that is read can be in many", async () => {
  await using w = await growingGuest();
  const other = { ...w.vmIntent, sandbox: "other", nonce: "nonce-of-other-0123456789" };
  const vm = await w.hypervisor.holdings.vm.acquire(other, quietCall());
  const first = await w.diskIntent("first", { readonly: true });
  await w.disk.acquire(first, quietCall());
  const inOther = { ...first, sandbox: "other", vm };
  await w.disk.acquire(inOther, quietCall());
  const writing = { ...first, id: "second", index: 1, readonly: false };
  assert.match((await rejects(w.disk.acquire(writing, quietCall()), "INVALID_INPUT")).message, "nobody else uses");
  for (const intent of [first, inOther]) await w.disk.release({ intent, grant: undefined }, quietCall());
  await w.disk.acquire(writing, quietCall());
  assert.match((await rejects(w.disk.acquire(inOther, quietCall()), "INVALID_INPUT")).message, "nobody else writes to");
});

s.test("a driver that this fake was made without is UNSUPPORTED", async () => {
  await using w = await growingGuest({ diskDrivers: ["virtio-blk"] });
  await rejects(w.disk.acquire(await w.diskIntent("data"), quietCall()), "UNSUPPORTED");
});

s.test("release never touches a disk of a later VM of the same sandbox", async () => {
  await using w = await growingGuest();
  const intent = await w.diskIntent("data");
  await w.disk.acquire(intent, quietCall());
  const earlier = { ...intent, vm: { ...intent.vm, nonce: "a-nonce-of-an-earlier-vm" } };
  await w.disk.release({ intent: earlier, grant: undefined }, quietCall());
  assert.is(w.snapshot().disks.length, 1);
  await rejects(w.disk.acquire(earlier, quietCall()), "VM_FAILED");
});

s.run();
