import { execFileSync } from "node:child_process";
import { mkdir, readFile, rename, rm, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import type { DiskIntent } from "tapvisor/plugin";
import * as assert from "uvu/assert";
import { plugDisk } from "../../../plugins/hypervisor-qemu/disk-device.ts";
import { checkDiskSource } from "../../../plugins/hypervisor-qemu/disk-source.ts";
import { leaseMachine } from "../../../plugins/hypervisor-qemu/machines.ts";
import { suite } from "../../support/suite.ts";
import { diskIntent } from "./support/disk-intent.ts";
import { disks, diskView, loopDevice, qcow2Image, rawImage } from "./support/disks.ts";
import { haltingKernel, unpluggingKernel } from "./support/real-mode-kernel.ts";
import { refusal } from "./support/refusal.ts";
import { call, world } from "./support/world.ts";

const s = suite("hypervisor-qemu disk");
/** The last byte of a qcow2 header's features that a reader must know, and one of them. */
const FEATURES_AT = 79;
const EXTERNAL_DATA = 4;

const isRoot = process.geteuid?.() === 0;

/** A running VM without a guest that knows disks, an image, and what is in QEMU before. */
async function scene(kernel = haltingKernel()) {
  const w = await world(kernel);
  const vm = await w.hypervisor.holdings.vm.acquire(w.intent, call());
  const image = await rawImage(join(w.directory, "disk.img"));
  const held = disks(w.hypervisor);
  return {
    w,
    vm,
    image,
    before: await diskView(vm),
    intent: (amend: Partial<DiskIntent> = {}) => diskIntent(image, { vm, ...amend }),
    acquire: (intent: DiskIntent, by = call()) => held.acquire(intent, by),
    release: (intent: DiskIntent, by = call()) => held.release({ intent, grant: undefined }, by),
    [Symbol.asyncDispose]: () => w[Symbol.asyncDispose](),
  };
}

s.test("20 SCSI disks plugged and unplugged leave devices and block nodes as before, and need no guest for it", async () => {
  await using v = await scene();
  for (let n = 0; n < 20; n++) {
    const intent = v.intent({ index: 3 });
    const grant = await v.acquire(intent);
    assert.equal(grant, { id: "data", guest: { driver: "scsi", address: "0:3" } });
    await v.release(intent);
    assert.equal(await diskView(v.vm), v.before);
  }
});

s.test("20 virtio-blk disks come and go with a guest that ejects them, in the same slot each time", async () => {
  await using v = await scene(unpluggingKernel());
  for (let n = 0; n < 20; n++) {
    const intent = v.intent({ driver: "virtio-blk" });
    const grant = await v.acquire(intent);
    assert.equal(grant, { id: "data", guest: { driver: "blk", address: "10/00" } });
    await v.release(intent);
    assert.equal(await diskView(v.vm), v.before);
  }
});

s.test("virtio-blk disks fill the bus, in parallel, each with a slot of its own; one more is VM_LIMIT and leaves nothing", async () => {
  await using v = await scene(unpluggingKernel());
  const intents = Array.from({ length: 33 }, (_, index) => v.intent({ driver: "virtio-blk", id: `d${index}`, index, readonly: true }));
  const grants = await Promise.all(intents.slice(0, 32).map((intent) => v.acquire(intent)));
  const wanted = Array.from({ length: 32 }, (_, slot) => `10/${slot.toString(16).padStart(2, "0")}`);
  assert.equal(grants.map(({ guest }) => guest.address).sort(), wanted);
  const full = await diskView(v.vm);
  const error = await refusal(v.acquire(intents[32] as DiskIntent));
  assert.equal([error.code, error.data], ["VM_LIMIT", { what: "devices", wanted: 33, available: 32 }]);
  assert.equal(await diskView(v.vm), full);
  await v.release(intents[7] as DiskIntent);
  const { guest } = await v.acquire(intents[32] as DiskIntent);
  assert.is(guest.address, grants[7]?.guest.address, "the slot that was given back");
  await Promise.all(intents.map((intent) => v.release(intent)));
  assert.equal(await diskView(v.vm), v.before);
});

s.test("a guest that keeps a virtio-blk disk: TIMEOUT, its slot and its node stay taken, and a dead VM makes release succeed", async () => {
  await using v = await scene(haltingKernel());
  const intent = v.intent({ driver: "virtio-blk" });
  await v.acquire(intent);
  const during = await diskView(v.vm);
  const error = await refusal(v.release(intent));
  assert.is(error.code, "TIMEOUT");
  assert.match(error.message, /let go of disk "data"/);
  assert.equal(await diskView(v.vm), during);
  const other = v.intent({ driver: "virtio-blk", id: "other", index: 1, path: await rawImage(join(v.w.directory, "other.img")) });
  assert.is((await v.acquire(other)).guest.address, "10/01");
  assert.is((await refusal(v.release(intent, call(300)))).code, "ABORTED", "a second release waits for the same device");
  await v.w.hypervisor.holdings.vm.release({ intent: v.w.intent, grant: v.vm }, call());
  await v.release(intent);
});

s.test("a qcow2 image and an image behind a symbolic link are plugged in as what they are", async () => {
  await using v = await scene();
  const path = await qcow2Image(v.vm, join(v.w.directory, "disk.qcow2"));
  await symlink(v.image, join(v.w.directory, "link"));
  const intents = [
    v.intent({ id: "a", path, format: "qcow2" }),
    v.intent({ id: "b", path: join(v.w.directory, "link"), index: 1 }),
    v.intent({ id: "c".repeat(31), path: await rawImage(join(v.w.directory, "odd.img"), 513), index: 2 }),
  ];
  for (const intent of intents) await v.acquire(intent);
  for (const intent of intents) await v.release(intent);
  assert.equal(await diskView(v.vm), v.before);
});

const rootTest: typeof s.test = isRoot ? s.test : (title) => s.skip(title, "making a device needs root");
rootTest("a block device of the host is plugged in, and free again after its release", async () => {
  await using v = await scene();
  {
    await using loop = await loopDevice(v.image);
    const intent = v.intent({ path: loop.path });
    await v.acquire(intent);
    await v.release(intent);
  }
  await using fixed = await loopDevice(v.image, "--read-only");
  const error = await refusal(v.acquire(v.intent({ path: fixed.path })));
  assert.is(error.code === "INVALID_INPUT" && error.data.path, "disk.path");
  assert.match(error.message, /it is read-only/);
  const intent = v.intent({ path: fixed.path, readonly: true });
  await v.acquire(intent);
  await v.release(intent);
  assert.equal(await diskView(v.vm), v.before);
});

s.test("read-only is enforced by QEMU on the disk and on the file below it", async () => {
  await using v = await scene();
  const path = await qcow2Image(v.vm, join(v.w.directory, "disk.qcow2"));
  await v.acquire(v.intent({ path, format: "qcow2", readonly: true }));
  await using lease = await leaseMachine(v.vm);
  const nodes = (await lease.machine.execute("query-named-block-nodes", { flat: true })) as readonly { file: string; ro: boolean }[];
  assert.equal(
    nodes.filter(({ file }) => file === path).map(({ ro }) => ro),
    [true, true],
  );
});

s.test("a second writer is refused, in this VM and from another, and readers share", async () => {
  await using v = await scene();
  await using other = await scene();
  await v.acquire(v.intent());
  for (const [by, amend] of [
    [v, { id: "second", index: 1 }],
    [v, { id: "second", index: 1, readonly: true }],
    [other, { path: v.image }],
    [other, { path: v.image, readonly: true, driver: "virtio-blk" }],
  ] as const) {
    const before = await diskView(by.vm);
    const error = await refusal(by.acquire(by.intent(amend)));
    assert.is(error.code === "INVALID_INPUT" && error.data.path, "disk.path");
    assert.match(error.message, /another program or VM has it/);
    assert.equal(await diskView(by.vm), before);
  }
  await v.release(v.intent());
  await v.acquire(v.intent({ readonly: true }));
  await other.acquire(other.intent({ path: v.image, readonly: true }));
});

s.test("a plug that QEMU refuses leaves no half behind", async () => {
  await using v = await scene();
  await v.acquire(v.intent({ readonly: true }));
  const during = await diskView(v.vm);
  for (const amend of [{ id: "other" }, {}, { index: 1 }]) {
    const error = await refusal(v.acquire(v.intent({ readonly: true, ...amend })));
    assert.is(error.code, "VM_COMMAND_FAILED");
    assert.match(error.message, /lun already used|Duplicate/);
    assert.equal(await diskView(v.vm), during, JSON.stringify(amend));
  }
});

s.test("acquire() given up half-way leaves nothing", async () => {
  await using v = await scene(unpluggingKernel());
  for (const driver of ["virtio-scsi", "virtio-blk"] as const) {
    for (const afterMs of [0, 1, 2, 4, 8, 16]) {
      await v.acquire(v.intent({ driver }), { ...call(), signal: AbortSignal.timeout(afterMs) }).catch(() => undefined);
      await v.release(v.intent({ driver }));
      assert.equal(await diskView(v.vm), v.before, `${driver} given up after ${afterMs} ms`);
    }
  }
});

s.test("a QEMU killed in the middle of a plug: the plug fails, the release succeeds", async () => {
  for (const afterMs of [0, 1, 3, 6]) {
    await using v = await scene();
    const plugging = v.acquire(v.intent()).catch(() => undefined);
    setTimeout(() => process.kill(v.vm.process?.pid ?? 0, "SIGKILL"), afterMs);
    await plugging;
    await v.release(v.intent());
  }
});

s.test("a QEMU that answers nothing makes acquire() and release() end with the caller's patience", async () => {
  await using v = await scene();
  process.kill(v.vm.process?.pid ?? 0, "SIGSTOP");
  assert.is((await refusal(v.acquire(v.intent(), call(100)))).code, "ABORTED");
  assert.is((await refusal(v.release(v.intent(), call(100)))).code, "ABORTED");
  process.kill(v.vm.process?.pid ?? 0, "SIGCONT");
  await v.release(v.intent());
  assert.equal(await diskView(v.vm), v.before);
});

s.test("release() is idempotent, and success when the disk never was, could not have been, or its file is gone", async () => {
  await using v = await scene();
  for (const never of [{}, { id: "../x" }, { index: -1 }]) await v.release(v.intent(never));
  const grant = await v.acquire(v.intent());
  await rm(v.image);
  for (let n = 0; n < 2; n++) await disks(v.w.hypervisor).release({ intent: v.intent(), grant }, call());
  assert.equal(await diskView(v.vm), v.before);
});

s.test("a disk exchanged between its check and QEMU's opening of it is refused and not left", async () => {
  await using v = await scene();
  const source = await checkDiskSource(v.intent());
  await rename(v.image, `${v.image}.old`);
  await rawImage(v.image);
  await using lease = await leaseMachine(v.vm);
  const error = await refusal(plugDisk(lease.machine, v.intent(), source, call()));
  assert.is(error.code, "INVALID_INPUT");
  assert.match(error.message, /exchanged/);
  await rm(v.image);
  const gone = await refusal(plugDisk(lease.machine, v.intent(), source, call()));
  assert.match(gone.message, /No such file/);
  assert.equal(await diskView(v.vm), v.before);
});

s.test("a disk's path and content are checked before anything is plugged", async () => {
  await using v = await scene();
  const at = (name: string) => join(v.w.directory, name);
  const qcow2 = await qcow2Image(v.vm, at("disk.qcow2"));
  const backed = await qcow2Image(v.vm, at("backed.qcow2"), { "backing-file": "/etc/shadow", "backing-fmt": "raw" });
  const header = await readFile(qcow2);
  header[FEATURES_AT] = EXTERNAL_DATA;
  await writeFile(at("external.qcow2"), header);
  await mkdir(at("directory"));
  await symlink("/nowhere", at("dangling"));
  await writeFile(at("empty"), "");
  await writeFile(at("short"), "QFI\xfb", "latin1");
  execFileSync("mkfifo", [at("fifo")]);
  await using _server = await listening(at("socket"));
  const table: readonly [string, Partial<DiskIntent>, RegExp][] = [
    ["disk.path", { path: at("none") }, /ENOENT/],
    ["disk.path", { path: at("dangling") }, /ENOENT/],
    ["disk.path", { path: at("directory") }, /it is a directory/],
    ["disk.path", { path: at("fifo") }, /neither a file nor a block device/],
    ["disk.path", { path: at("socket") }, /neither a file nor a block device/],
    ["disk.path", { path: "/dev/null" }, /neither a file nor a block device/],
    ["disk.path", { path: at("empty") }, /it is empty/],
    ["disk.path", { path: "disk.img" }, /an absolute path/],
    ["disk.path", { path: backed, format: "qcow2" }, /it has a backing file/],
    ["disk.path", { path: at("external.qcow2"), format: "qcow2" }, /it has an external data file/],
    ["disk.format", { path: qcow2 }, /is a qcow2 image, wanted "qcow2"/],
    ["disk.format", { format: "qcow2" }, /is not a qcow2 image, wanted "raw"/],
    ["disk.id", { id: "../x" }, /letter/],
  ];
  const before = await diskView(v.vm);
  for (const [path, amend, text] of table) {
    const error = await refusal(v.acquire(v.intent(amend)));
    assert.is(error.code === "INVALID_INPUT" && error.data.path, path, JSON.stringify(amend));
    assert.match(error.message, text);
    assert.equal(await diskView(v.vm), before);
  }
  const short = await refusal(v.acquire(v.intent({ path: at("short"), format: "qcow2" })));
  assert.is(short.code, "VM_COMMAND_FAILED", "QEMU's words about a broken image");
  assert.equal(await diskView(v.vm), before);
});

rootTest("drives with removable media are refused without being opened", async () => {
  await using v = await scene();
  for (const [major, text] of [
    ["2", /it is a floppy drive/],
    ["11", /it is a CD-ROM drive/],
  ] as const) {
    const path = join(v.w.directory, `drive-${major}`);
    execFileSync("mknod", [path, "b", major, "0"]);
    const error = await refusal(v.acquire(v.intent({ path, readonly: true })));
    assert.match(error.message, text);
  }
});

async function listening(path: string): Promise<AsyncDisposable> {
  const server = createServer().listen(path);
  await new Promise((resolve) => server.once("listening", resolve));
  return { [Symbol.asyncDispose]: async () => void server.close() };
}

s.run();
