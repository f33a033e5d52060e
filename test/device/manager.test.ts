import fc from "fast-check";
import { isTapvisorError } from "tapvisor";
import * as assert from "uvu/assert";
import { attachDevice, type DeviceInfo, type Devices, detachDevice, newDevice, removeDevice, SANDBOX } from "../../src/device/manager.ts";
import { suite } from "../support/suite.ts";

const s = suite("device manager");

const disk = (minor: number, more: Partial<DeviceInfo> = {}): DeviceInfo => ({
  identity: `b:7:${minor}`,
  path: `/dev/loop${minor}`,
  format: "raw",
  readonly: false,
  driver: "virtio-scsi",
  ...more,
});

function codeOf(work: () => unknown): string {
  try {
    work();
    return "ok";
  } catch (error) {
    return isTapvisorError(error) ? error.code : String(error);
  }
}

s.test("one identity is one device, whatever path leads to it; each use is a reference", () => {
  const devices: Devices = {};
  const first = newDevice(devices, disk(0), "web");
  const second = newDevice(devices, disk(0, { path: "/dev/disk/by-id/same" }), "db");
  assert.is(second.id, first.id);
  assert.equal(second.references, ["web", "db"]);
  assert.is.not(newDevice(devices, disk(1), "web").id, first.id);
});

s.test("a block device and an image of the same numbers are two", () => {
  const devices: Devices = {};
  newDevice(devices, disk(0), "web");
  newDevice(devices, disk(0, { identity: "f:7:0", path: "/x.img" }), "web");
  assert.is(Object.keys(devices).length, 2);
});

s.test("the first attachment is to be plugged in, the last detachment unplugged, those between only count", () => {
  const devices: Devices = {};
  const { id } = newDevice(devices, disk(0), "web");
  newDevice(devices, disk(0), SANDBOX);
  assert.is(attachDevice(devices, id, "web").first, true);
  assert.is(attachDevice(devices, id, SANDBOX).first, false);
  assert.is(detachDevice(devices, id, "web").last, false);
  assert.is(detachDevice(devices, id, SANDBOX).last, true);
});

s.test("the four errors: unknown, not attached, still attached, ids exhausted", () => {
  const devices: Devices = {};
  assert.is(
    codeOf(() => attachDevice(devices, "none", "web")),
    "DEVICE_NOT_FOUND",
  );
  const { id } = newDevice(devices, disk(0), "web");
  assert.is(
    codeOf(() => detachDevice(devices, id, "web")),
    "DEVICE_NOT_ATTACHED",
  );
  attachDevice(devices, id, "web");
  assert.is(
    codeOf(() => detachDevice(devices, id, "db")),
    "DEVICE_NOT_ATTACHED",
  );
  const before = structuredClone(devices);
  assert.is(
    codeOf(() => removeDevice(devices, id, "web")),
    "DEVICE_ATTACHED",
  );
  assert.equal(devices, before, "a refused removal takes no reference");
  assert.is(
    codeOf(() => removeDevice(devices, id, "db")),
    "DEVICE_NOT_FOUND",
  );
  const full = new Proxy({} as Devices, { getOwnPropertyDescriptor: () => ({ configurable: true, enumerable: true, value: undefined }) });
  assert.is(
    codeOf(() => newDevice(full, disk(1), "web")),
    "DEVICE_IDS_EXHAUSTED",
  );
});

s.test("a device that is plugged in read-only is not given out as writable, nor one format as another", () => {
  const devices: Devices = {};
  newDevice(devices, disk(0, { readonly: true }), "web");
  assert.is(
    codeOf(() => newDevice(devices, disk(0), "db")),
    "INVALID_INPUT",
  );
  assert.is(
    codeOf(() => newDevice(devices, disk(0, { readonly: true, format: "qcow2" }), "db")),
    "INVALID_INPUT",
  );
  assert.is(
    codeOf(() => newDevice(devices, disk(0, { readonly: true }), "db")),
    "ok",
  );
});

const HOLDERS = ["web", "db", SANDBOX] as const;
const step = fc.record({
  verb: fc.constantFrom("new" as const, "attach" as const, "detach" as const, "remove" as const),
  minor: fc.nat(3),
  holder: fc.constantFrom(...HOLDERS),
});

s.test("in any order of verbs: counts are those of a plain model, indexes are unique and the lowest, and a refusal changes nothing", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const devices: Devices = {};
      const references = new Map<string, number>();
      const attachments = new Map<string, number>();
      const count = (map: Map<string, number>, key: string, by: number) => map.set(key, (map.get(key) ?? 0) + by);
      const total = (map: Map<string, number>, minor: number) =>
        HOLDERS.reduce((sum, holder) => sum + (map.get(`${minor} ${holder}`) ?? 0), 0);
      for (const { verb, minor, holder } of steps) {
        const key = `${minor} ${holder}`;
        const id = Object.values(devices).find(({ identity }) => identity === `b:7:${minor}`)?.id ?? "none";
        const before = structuredClone(devices);
        const has = (map: Map<string, number>) => (map.get(key) ?? 0) > 0;
        let wanted = "ok";
        if (verb === "new") {
          assert.is(
            codeOf(() => newDevice(devices, disk(minor), holder)),
            "ok",
          );
          count(references, key, 1);
        } else if (verb === "attach") {
          wanted = total(references, minor) > 0 ? "ok" : "DEVICE_NOT_FOUND";
          assert.is(
            codeOf(() => attachDevice(devices, id, holder)),
            wanted,
          );
          if (wanted === "ok") count(attachments, key, 1);
        } else if (verb === "detach") {
          wanted = total(references, minor) === 0 ? "DEVICE_NOT_FOUND" : has(attachments) ? "ok" : "DEVICE_NOT_ATTACHED";
          assert.is(
            codeOf(() => detachDevice(devices, id, holder)),
            wanted,
          );
          if (wanted === "ok") count(attachments, key, -1);
        } else {
          const last = total(references, minor) === 1;
          wanted = !has(references) ? "DEVICE_NOT_FOUND" : last && total(attachments, minor) > 0 ? "DEVICE_ATTACHED" : "ok";
          assert.is(
            codeOf(() => removeDevice(devices, id, holder)),
            wanted,
          );
          if (wanted === "ok") count(references, key, -1);
        }
        if (wanted !== "ok") assert.equal(devices, before);
        const indexes = Object.values(devices).map(({ index }) => index);
        assert.is(new Set(indexes).size, indexes.length);
        assert.ok(
          indexes.every((index) => index < 4),
          "an index is used again when it is free",
        );
        for (const { identity, references: refs, attachments: all } of Object.values(devices)) {
          const number = Number(identity.slice(4));
          assert.is(refs.length, total(references, number));
          assert.is(all.length, total(attachments, number));
        }
      }
    }),
    { numRuns: 1_000 },
  );
});

s.run();
