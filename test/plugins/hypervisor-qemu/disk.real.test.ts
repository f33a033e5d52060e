import { join } from "node:path";
import type { Sandbox } from "tapvisor";
import type { DiskDriver, DiskIntent, GuestDisk } from "tapvisor/plugin";
import * as assert from "uvu/assert";
import { leaseMachine } from "../../../plugins/hypervisor-qemu/machines.ts";
import { realEngine } from "../../support/real-engine.ts";
import { suite } from "../../support/suite.ts";
import { watchedBackends } from "../../support/watched-backends.ts";
import { diskIntent } from "./support/disk-intent.ts";
import { disks, diskView, loopDevice, qcow2Image, rawImage } from "./support/disks.ts";
import { refusal } from "./support/refusal.ts";
import { call, qemu } from "./support/world.ts";

const s = suite("hypervisor-qemu disk in a real guest");
const test = (name: string, body: () => Promise<void>) => s.test(name, body, { timeoutMs: 240_000 });
const MiB = 2 ** 20;
const DRIVERS: readonly DiskDriver[] = ["virtio-scsi", "virtio-blk"];

const LOOK = "for d in /sys/block/*; do echo $(basename $d) $(cat $d/size $d/ro) $(readlink -f $d); done";

interface Seen {
  readonly bytes: number;
  readonly readonly: boolean;
  /** Where its device is in the guest's tree. */
  readonly path: string;
}

/** A sandbox with the real guest, and disks plugged into its VM without the engine. */
async function scene() {
  const backends = watchedBackends();
  const real = await realEngine({ plugins: backends.plugins });
  const sandbox = await real.engine.runSandbox({ id: "box", memory: "512MiB" });
  const vm = backends.grant("box");
  const held = disks(await qemu());
  return {
    vm,
    before: await diskView(vm),
    file: (name: string) => join(real.directory, name),
    intent: (path: string, amend: Partial<DiskIntent> = {}) => diskIntent(path, { sandbox: "box", vm, ...amend }),
    acquire: (intent: DiskIntent) => held.acquire(intent, call()),
    release: (intent: DiskIntent) => held.release({ intent, grant: undefined }, call()),
    /** Waits for the guest to have it. */
    find: (disk: GuestDisk) => backends.client("box").findDisk(disk, call()),
    look: () => guestDisks(sandbox, real.rootfs),
    [Symbol.asyncDispose]: () => real[Symbol.asyncDispose](),
  };
}

/** The disks of the guest but its own image, by name, as a container sees them. */
async function guestDisks(sandbox: Sandbox, rootfs: string): Promise<ReadonlyMap<string, Seen>> {
  await using look = await sandbox.run({ rootfs, command: ["sh", "-c", LOOK] });
  const lines = (await look.stdout.text()).trim().split("\n");
  assert.is((await look.wait()).exitCode, 0);
  const all = lines.map((line) => line.split(" "));
  return new Map(
    all
      .filter(([name = ""]) => /^(sd|vd[b-z])/.test(name))
      .map(([name = "", sectors, ro, path = ""]) => [name, { bytes: Number(sectors) * 512, readonly: ro === "1", path }]),
  );
}

test("raw, qcow2 and a block device appear where the grant says, writable or not, by both drivers, and go again", async () => {
  await using v = await scene();
  const raw = await rawImage(v.file("raw.img"), 2 * MiB);
  const qcow2 = await qcow2Image(v.vm, v.file("disk.qcow2"));
  await using loop = await loopDevice(await rawImage(v.file("loop.img"), 3 * MiB));
  for (const driver of DRIVERS) {
    const intents = [
      v.intent(raw, { driver, id: "raw", index: 0 }),
      v.intent(qcow2, { driver, id: "qcow2", index: 1, format: "qcow2", readonly: true }),
      v.intent(loop.path, { driver, id: "loop", index: 259 }),
    ];
    const addresses = driver === "virtio-scsi" ? ["0:0", "0:1", "1:3"] : ["10/00", "10/01", "10/02"];
    const places = addresses.map((each) => (driver === "virtio-scsi" ? `:0:${each}/` : `:${each.slice(3)}.0/`));
    const sizes = [2 * MiB, MiB, 3 * MiB];
    for (const [index, intent] of intents.entries()) {
      const { guest } = await v.acquire(intent);
      assert.is(guest.address, addresses[index]);
      const found = await v.find(guest);
      assert.is(found?.bytes, sizes[index], `${driver} ${intent.id}`);
    }
    const seen = [...(await v.look()).values()].sort((a, b) => a.path.localeCompare(b.path));
    assert.equal(
      seen.map(({ bytes, readonly }) => ({ bytes, readonly })),
      sizes.map((bytes, index) => ({ bytes, readonly: index === 1 })),
    );
    for (const [index, { path }] of seen.entries()) assert.ok(path.includes(places[index] ?? "?"), `${path} holds ${places[index]}`);
    for (const intent of intents) await v.release(intent);
    assert.is((await v.look()).size, 0);
    assert.equal(await diskView(v.vm), v.before);
  }
});

test("32 SCSI disks appear and go, and the indexes of those that went are free", async () => {
  await using v = await scene();
  const intents: DiskIntent[] = [];
  for (let index = 0; index < 32; index++) {
    intents.push(v.intent(await rawImage(v.file(`${index}.img`), (index + 1) * 512), { id: `d${index}`, index }));
  }
  for (const intent of intents) await v.find((await v.acquire(intent)).guest);
  const sizes = [...(await v.look()).values()].map(({ bytes }) => bytes).sort((a, b) => a - b);
  assert.equal(
    sizes,
    intents.map((_, index) => (index + 1) * 512),
  );
  for (const intent of intents.filter((_, index) => index % 2 === 0)) await v.release(intent);
  assert.is((await v.look()).size, 16);
  const again = v.intent(v.file("0.img"), { id: "again", index: 0 });
  assert.is((await v.find((await v.acquire(again)).guest))?.bytes, 512);
  for (const intent of [...intents, again]) await v.release(intent);
  assert.is((await v.look()).size, 0);
  assert.equal(await diskView(v.vm), v.before);
});

test("a virtio-blk disk's slot is free again once the guest has let go of it, and not before", async () => {
  await using v = await scene();
  const first = v.intent(await rawImage(v.file("first.img")), { id: "first", driver: "virtio-blk" });
  const second = v.intent(await rawImage(v.file("second.img")), { id: "second", driver: "virtio-blk", index: 1 });
  const third = v.intent(await rawImage(v.file("third.img")), { id: "third", driver: "virtio-blk", index: 2 });
  assert.is((await v.acquire(first)).guest.address, "10/00");
  await using lease = await leaseMachine(v.vm);
  await lease.machine.execute("stop");
  const during = await diskView(v.vm);
  const error = await refusal(v.release(first));
  assert.is(error.code, "TIMEOUT");
  assert.equal(await diskView(v.vm), during, "neither half of it has gone");
  assert.is((await v.acquire(second)).guest.address, "10/01");
  await lease.machine.execute("cont");
  await v.release(first);
  const { guest } = await v.acquire(third);
  assert.is(guest.address, "10/00");
  assert.is((await v.find(guest))?.bytes, MiB);
  for (const intent of [second, third]) await v.release(intent);
  assert.equal(await diskView(v.vm), v.before);
});

s.run();
