import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { status } from "@grpc/grpc-js";
import { guestServiceDefinition } from "tapvisor/protocol";
import * as assert from "uvu/assert";
import { withNumbers } from "../../../../plugins/guest-linux/agent/container/container-devices.ts";
import type { OciSpec } from "../../../../src/contracts/oci.ts";
import { suite } from "../../../support/suite.ts";
import { type FakeGuest, fakeGuest, refusal } from "./support/fake-guest.ts";
import { fakeSys } from "./support/fake-sys.ts";

const s = suite("guest agent: disks");
const { FindDisk, ReleaseDisk } = guestServiceDefinition;

async function world() {
  const guest = await fakeGuest();
  await mkdir(guest.paths.dev);
  return { guest, sys: fakeSys(guest.paths), [Symbol.asyncDispose]: () => guest[Symbol.asyncDispose]() };
}

const scsi = (address: string) => ({ driver: "scsi", address });
const blk = (address: string) => ({ driver: "blk", address });

s.test("a disk is found by its place, a SCSI disk by id and LUN, another by its bridge and slot", async () => {
  await using here = await world();
  await here.sys.scsiDisk("1:3", "sdb", { sectors: 2 ** 31 });
  await here.sys.scsiDisk("0:3", "sda");
  await here.sys.scsiDisk("11:3", "sdc");
  await here.sys.pciDisk("10", "0a", "vdb", { sectors: 8 });
  const find = (request: object) => here.guest.raw(FindDisk, request);
  assert.equal(await find(scsi("0:3")), { node: join(here.guest.paths.dev, "sda"), bytes: "8192" });
  assert.equal(await find(scsi("1:3")), { node: join(here.guest.paths.dev, "sdb"), bytes: String(2 ** 40) });
  assert.equal(await find(blk("10/0a")), { node: join(here.guest.paths.dev, "vdb"), bytes: "4096" });
  assert.equal(await find(blk("10/0A")), { node: join(here.guest.paths.dev, "vdb"), bytes: "4096" });
});

s.test("a disk is waited for until it has its node, and one that does not come ends with the caller's time", async () => {
  await using here = await world();
  const finding = here.guest.raw(FindDisk, scsi("0:3"));
  setTimeout(() => void here.sys.scsiDisk("0:3", "sda"), 50);
  assert.equal(await finding, { node: join(here.guest.paths.dev, "sda"), bytes: "8192" });
  const never = await refusal(here.guest.raw(FindDisk, blk("10/05"), { timeoutMs: 300 }));
  assert.is(never.status, status.DEADLINE_EXCEEDED);
});

s.test("a SCSI disk that is not there is looked for on the bus, once", async () => {
  await using here = await world();
  await here.sys.scsiHost();
  const scan = join(here.guest.paths.sys, "class/scsi_host/host2/scan");
  const finding = here.guest.raw(FindDisk, scsi("1:30"));
  while ((await readFile(scan, "utf8")) === "") await delay(5);
  assert.is(await readFile(scan, "utf8"), "0 1 30");
  await writeFile(scan, "");
  await writeFile(join(here.guest.paths.dev, "another"), "");
  await delay(100); // in which it looks again, and not on the bus
  assert.is(await readFile(scan, "utf8"), "");
  await here.sys.scsiDisk("1:30", "sda");
  await finding;
});

s.test("an address of another form, or a driver of another name, is INVALID_ARGUMENT", async () => {
  await using here = await world();
  const bad = [
    blk("10"),
    blk("10/5"),
    blk("../05"),
    blk("10/20"),
    blk("20/05"),
    blk("0:3"),
    scsi("0"),
    scsi("10/05"),
    scsi("0:3:1"),
    scsi("a:1"),
  ];
  for (const request of [...bad, { driver: "nvme", address: "0:3" }, { driver: "", address: "" }]) {
    for (const method of [FindDisk, ReleaseDisk]) {
      const refused = await refusal(here.guest.raw(method as typeof FindDisk, request));
      assert.is(refused.status, status.INVALID_ARGUMENT, JSON.stringify(request));
    }
  }
});

s.test("a released SCSI disk leaves the kernel, another stays for its unplugging, and one that is not there is released", async () => {
  await using here = await world();
  await here.sys.scsiDisk("0:3", "sda");
  await here.sys.pciDisk("10", "05", "vdb");
  await here.guest.raw(ReleaseDisk, scsi("0:3"));
  await here.guest.raw(ReleaseDisk, blk("10/05"));
  const deleted = (name: string) => readFile(join(here.guest.paths.sys, "class/block", name, "device/delete"), "utf8");
  assert.equal([await deleted("sda"), await deleted("vdb")], ["1", ""]);
  await here.guest.raw(ReleaseDisk, scsi("0:4"));
  await here.sys.gone("sda");
  await here.guest.raw(ReleaseDisk, scsi("0:3"));
});

s.test("a disk that another device is made of, or that a container has, is in use and stays", async () => {
  await using here = await world();
  await here.sys.scsiDisk("0:3", "sda");
  const holder = join(here.guest.paths.sys, "class/block/sda/holders/dm-0");
  await mkdir(holder);
  const held = await refusal(here.guest.raw(ReleaseDisk, scsi("0:3")));
  assert.equal([held.status, held.text.includes("dm-0")], [status.FAILED_PRECONDITION, true]);
  await rm(holder, { recursive: true });
  await create(here.guest, [device("scsi", "0:3", "/dev/data")]);
  const had = await refusal(here.guest.raw(ReleaseDisk, scsi("0:3")));
  assert.equal([had.status, had.text.includes("container c")], [status.FAILED_PRECONDITION, true]);
  assert.is(await readFile(join(here.guest.paths.sys, "class/block/sda/device/delete"), "utf8"), "");
  await here.guest.call("RemoveContainer", { container_id: "c" });
  await here.guest.raw(ReleaseDisk, scsi("0:3"));
});

function device(type: string, id: string, container_path: string) {
  return { id, type, vm_path: "", container_path, options: [] };
}

async function create(guest: FakeGuest, devices: readonly object[], linux: object = {}, options = {}): Promise<void> {
  const spec = guest.spec(["sleep", "1000"]);
  if (!guest.agent.sandbox) await guest.call("CreateSandbox", { sandbox_id: "s" });
  const OCI = { ...spec, Linux: { ...spec.Linux, ...linux } as never };
  await guest.call("CreateContainer", { container_id: "c", devices: devices as never, OCI }, options);
}

async function linuxOf(guest: FakeGuest): Promise<OciSpec["linux"]> {
  return JSON.parse(await readFile(join(guest.paths.own, "containers/c/config.json"), "utf8")).linux;
}

s.test("a device's node and rule get the guest's numbers, whatever stood for them; one that is not named is added", async () => {
  await using here = await world();
  await here.sys.scsiDisk("0:3", "sda", { numbers: "8:48" });
  await here.sys.pciDisk("10", "05", "vdb", { numbers: "254:16" });
  const linux = {
    Devices: [{ Path: "/dev/data", Type: "b", Major: "0", Minor: "1", FileMode: 0o600 }],
    Resources: {
      Devices: [
        { Allow: false, Type: "", Major: "-1", Minor: "-1", Access: "rwm" },
        { Allow: true, Type: "b", Major: "0", Minor: "1", Access: "r" },
        { Allow: true, Type: "c", Major: "0", Minor: "1", Access: "w" },
      ],
    },
  };
  await create(here.guest, [device("scsi", "0:3", "/dev/data"), device("blk", "10/05", "/dev/more")], linux);
  const { devices, resources } = await linuxOf(here.guest);
  assert.equal(devices, [
    { path: "/dev/data", type: "b", major: 8, minor: 48, fileMode: 0o600 },
    { path: "/dev/more", type: "b", major: 254, minor: 16 },
  ]);
  assert.equal(resources?.devices, [
    { allow: false, access: "rwm" },
    { allow: true, access: "r", type: "b", major: 8, minor: 48 },
    { allow: true, access: "w", type: "c", major: 0, minor: 1 },
    { allow: true, access: "rwm", type: "b", major: 254, minor: 16 },
  ]);
});

s.test("a guest's number of one device that stood for another one changes only the other's", () => {
  const node = (path: string, minor: number) => ({ path, type: "b" as const, major: 8, minor });
  const rule = (access: string, minor: number) => ({ allow: true, access, type: "b", major: 8, minor });
  const linux = { namespaces: [], maskedPaths: [], readonlyPaths: [] };
  const spec = { linux: { ...linux, devices: [node("/a", 0), node("/b", 16)], resources: { devices: [rule("r", 0), rule("w", 16)] } } };
  const { devices, resources } = withNumbers(spec as unknown as OciSpec, [node("/a", 16), node("/b", 32)]).linux;
  assert.equal(devices, [node("/a", 16), node("/b", 32)]);
  assert.equal(resources?.devices, [rule("r", 16), rule("w", 32)]);
});

s.test("a container whose disk does not come is not made, and nothing of it is left", async () => {
  await using here = await world();
  const creating = create(here.guest, [device("scsi", "0:3", "/dev/data")], {}, { timeoutMs: 300 });
  assert.is((await refusal(creating)).status, status.DEADLINE_EXCEEDED);
  while (here.guest.agent.containers.size > 0) await delay(10);
  await here.guest.raw(ReleaseDisk, scsi("0:3"));
});

s.test("a device without a place of its own in the container, or without an address, is INVALID_ARGUMENT", async () => {
  await using here = await world();
  for (const bad of ["", "dev/data", "/dev/../etc", "/dev/data/", "/dev/da\0ta"]) {
    assert.is((await refusal(create(here.guest, [device("scsi", "0:3", bad)]))).status, status.INVALID_ARGUMENT, bad);
  }
  const twice = [device("scsi", "0:3", "/dev/data"), device("scsi", "0:4", "/dev/data")];
  assert.is((await refusal(create(here.guest, twice))).status, status.INVALID_ARGUMENT);
  assert.is((await refusal(create(here.guest, [device("vfio", "0:3", "/dev/data")]))).status, status.INVALID_ARGUMENT);
  assert.is(here.guest.agent.containers.size, 0);
});

s.run();
