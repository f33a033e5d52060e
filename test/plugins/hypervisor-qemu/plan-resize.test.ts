import { type Bytes, GiB, MiB, type VmSize } from "tapvisor/plugin";
import * as assert from "uvu/assert";
import { planResize } from "../../../plugins/hypervisor-qemu/plan-resize.ts";
import { suite } from "../../support/suite.ts";

const s = suite("hypervisor-qemu plan of a resize");

const size = (vcpus: number, memoryBytes: number): VmSize => ({ vcpus, memoryBytes: memoryBytes as Bytes });
const LIMITS = size(4, 4 * GiB);
const SMALL = size(1, 512 * MiB);
const LARGE = size(3, 1 * GiB);

const plug = (index: number) => ({
  command: "device_add",
  arguments: { driver: "max-x86_64-cpu", id: `cpu-${index}`, "socket-id": 0, "core-id": index, "thread-id": 0 },
});
const unplug = (id: string) => ({ command: "device_del", arguments: { id } });
const request = (value: number) => ({
  command: "qom-set",
  arguments: { path: "/machine/peripheral/growth", property: "requested-size", value },
});

s.test("golden: growing by virtio-mem, then vCPUs lowest index first", () => {
  assert.equal(planResize(SMALL, LARGE, LIMITS), [request(512 * MiB), plug(1), plug(2)]);
});

s.test("golden: shrinking is the same way back, vCPUs highest index first", () => {
  assert.equal(planResize(LARGE, SMALL, LIMITS), [request(0), unplug("cpu-2"), unplug("cpu-1")]);
});

s.test("golden: a module is its memory, which is shared, and the module; it goes before its memory", () => {
  assert.equal(planResize(SMALL, size(1, 1 * GiB), LIMITS, "pc-dimm"), [
    {
      command: "object-add",
      arguments: { "qom-type": "memory-backend-memfd", id: "dimm-0-ram", size: 512 * MiB, share: true },
    },
    { command: "device_add", arguments: { driver: "pc-dimm", id: "dimm-0", memdev: "dimm-0-ram", slot: 0 } },
  ]);
  assert.equal(planResize(size(1, 1 * GiB), SMALL, LIMITS, "pc-dimm"), [
    unplug("dimm-0"),
    { command: "object-del", arguments: { id: "dimm-0-ram" } },
  ]);
});

s.test("nothing to do is no command, and nothing goes beyond the limits", () => {
  assert.equal(planResize(SMALL, SMALL, LIMITS), []);
  assert.equal(planResize(SMALL, size(9, 99 * GiB), LIMITS), [request(3584 * MiB), plug(1), plug(2), plug(3)]);
});

s.run();
