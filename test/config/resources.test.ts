import { totalmem } from "node:os";
import { isTapvisorError } from "tapvisor";
import * as assert from "uvu/assert";
import { GiB, MiB } from "../../src/base/units.ts";
import { containerConfig } from "../../src/config/container-config.ts";
import { deviceOptions } from "../../src/config/device-config.ts";
import { updatedResources, vcpusIn } from "../../src/config/resources-config.ts";
import { sandboxConfig } from "../../src/config/sandbox-config.ts";
import { suite } from "../support/suite.ts";

const s = suite("config of resources, mounts and devices");
const minimal = { rootfs: "/rootfs", command: ["true"] };

function refusal(work: () => unknown): { readonly code: string; readonly path: string; readonly message: string } {
  try {
    work();
  } catch (error) {
    assert.ok(isTapvisorError(error), String(error));
    return { code: error.code, path: String(Reflect.get(error.data, "path")), message: error.message };
  }
  return assert.unreachable("it was taken") as never;
}

const BAD_RESOURCES: readonly [object, string][] = [
  [{ memory: "512" }, "resources.memory"],
  [{ memory: "512MB" }, "resources.memory"],
  [{ memory: "0MiB" }, "resources.memory"],
  [{ memory: 0 }, "resources.memory"],
  [{ memory: Number.NaN }, "resources.memory"],
  [{ memory: -4096 }, "resources.memory"],
  [{ memory: 4097 }, "resources.memory"],
  [{ memory: "1.5KiB" }, "resources.memory"],
  [{ memory: 2 ** 60 }, "resources.memory"],
  [{ swap: "1" }, "resources.swap"],
  [{ vcpus: 0 }, "resources.vcpus"],
  [{ vcpus: -1 }, "resources.vcpus"],
  [{ vcpus: Number.NaN }, "resources.vcpus"],
  [{ vcpus: Number.POSITIVE_INFINITY }, "resources.vcpus"],
  [{ vcpus: 65 }, "resources.vcpus"],
  [{ vcpus: "2" }, "resources.vcpus"],
  [{ cpuQuota: 0 }, "resources.cpuQuota"],
  [{ cpuQuota: 999 }, "resources.cpuQuota"],
  [{ cpuPeriod: 999 }, "resources.cpuPeriod"],
  [{ cpuset: "a" }, "resources.cpuset"],
  [{ cpuset: "3-1" }, "resources.cpuset"],
  [{ cpuset: "0-64" }, "resources.cpuset"],
  [{ cpuShares: 1 }, "resources.cpuShares"],
  [{ pids: 0 }, "resources.pids"],
  [{ hugepages: { "4KiB": "4KiB" } }, "resources.hugepages.4KiB"],
  [{ vcpus: 1, cpuQuota: 100_000 }, "resources"],
  [{ memory: "64MiB", memoryReservation: "65MiB" }, "resources.memoryReservation"],
  [{ cpus: 1 }, "resources.cpus"],
];
for (const [resources, path] of BAD_RESOURCES) {
  const shown = JSON.stringify(resources, (_, value) => (typeof value === "number" && !Number.isFinite(value) ? String(value) : value));
  s.test(`resources ${shown} are refused, naming ${path}`, () => {
    const found = refusal(() => containerConfig({ ...minimal, resources }));
    assert.equal([found.code, found.path], ["INVALID_INPUT", path], found.message);
  });
}

const BAD_MOUNTS: readonly [object, string][] = [
  [{ target: "/x" }, "mounts.0"],
  [{ source: "/a", volume: "v", target: "/x" }, "mounts.0"],
  [{ source: "/a", target: "/x/../../etc" }, "mounts.0.target"],
  [{ source: "/a", target: "/proc/1" }, "mounts.0.target"],
  [{ source: "/a", target: "/sys" }, "mounts.0.target"],
  [{ source: "/a", target: "/dev" }, "mounts.0.target"],
  [{ source: "/a", target: "/dev/shm" }, "mounts.0.target"],
  [{ volume: "../etc", target: "/x" }, "mounts.0.volume"],
  [{ tmpfs: false, target: "/x" }, "mounts.0.tmpfs"],
  [{ tmpfs: true, target: "/x", size: "much" }, "mounts.0.size"],
  [{ tmpfs: true, target: "/x", mode: 0o10000 }, "mounts.0.mode"],
  [{ block: "/img", target: "/x", fstype: "ext4;rm" }, "mounts.0.fstype"],
  [{ block: "/img", target: "/x", format: "vmdk" }, "mounts.0.format"],
  [{ source: "/a\0b", target: "/x" }, "mounts.0.source"],
];
for (const [mount, path] of BAD_MOUNTS) {
  s.test(`the mount ${JSON.stringify(mount)} is refused, naming ${path}`, () => {
    const found = refusal(() => containerConfig({ ...minimal, mounts: [mount] }));
    assert.equal([found.code, found.path], ["INVALID_INPUT", path], found.message);
  });
}

s.test("each kind of mount has its defaults, and one target is used once, by mounts and devices together", () => {
  const mounts = [
    { source: "/a", target: "/a" },
    { volume: "cache", target: "/b", readonly: true },
    { tmpfs: true, target: "/c", size: "1MiB" },
    { block: "/img", target: "/d" },
  ];
  assert.equal(containerConfig({ ...minimal, mounts }).mounts, [
    { type: "bind", source: "/a", target: "/a", readonly: false },
    { type: "volume", volume: "cache", target: "/b", readonly: true },
    { type: "tmpfs", target: "/c", sizeBytes: MiB, mode: 0o1777 },
    { type: "block", path: "/img", target: "/d", fstype: "ext4", format: "raw", readonly: false },
  ]);
  const twice = { mounts: [{ tmpfs: true, target: "/dev/x" }], devices: [{ path: "/img", target: "/dev/x" }] };
  assert.is(refusal(() => containerConfig({ ...minimal, ...twice })).path, "mounts");
});

s.test("a device is found where it is on the host, below /dev; an image needs a name", () => {
  assert.equal(containerConfig({ ...minimal, devices: [{ path: "/dev/loop0" }] }).devices, [
    { path: "/dev/loop0", target: "/dev/loop0", readonly: false, format: "raw" },
  ]);
  assert.is(refusal(() => containerConfig({ ...minimal, devices: [{ path: "/tmp/x.img" }] })).path, "devices");
  assert.is(
    refusal(() => containerConfig({ ...minimal, devices: [{ path: "/tmp/x.img", target: "/dev/../x" }] })).path,
    "devices.0.target",
  );
  assert.is(refusal(() => deviceOptions({ path: "/x", driver: "ide" })).path, "driver");
  assert.is(refusal(() => deviceOptions({})).path, "path");
});

s.test("an update merges: values set, null removes, a quota in one form takes the place of the other", () => {
  const now = { vcpus: 2, memoryBytes: 64 * MiB, pids: 5 } as never;
  assert.equal(updatedResources(now, { memory: null, pids: 7 }), { vcpus: 2, memoryBytes: undefined, pids: 7 });
  assert.equal(updatedResources(now, { cpuQuota: -1 }), { vcpus: undefined, memoryBytes: 64 * MiB, pids: 5, cpuQuota: -1 });
  assert.equal(updatedResources({ cpuQuota: 50_000, cpuPeriod: 10_000 }, { vcpus: 1 }), {
    cpuQuota: undefined,
    cpuPeriod: undefined,
    vcpus: 1,
  });
  assert.is(refusal(() => updatedResources({}, {})).path, "update");
  assert.is(refusal(() => updatedResources({}, { memory: "x" })).path, "memory");
  assert.is(
    refusal(() => updatedResources({ memoryBytes: MiB as never }, { memoryReservation: "2MiB" })).path,
    "resources.memoryReservation",
  );
});

s.test("a cpuset names its vCPUs", () => {
  assert.equal(vcpusIn("0"), [0]);
  assert.equal(vcpusIn("0-2,5,7-8"), [0, 1, 2, 5, 7, 8]);
});

s.test("a sandbox can grow to what the host has, or to less; never to less than it boots with", () => {
  const usual = sandboxConfig({});
  assert.ok(usual.limits.vcpus >= 16);
  assert.ok(usual.limits.memoryBytes <= totalmem() && usual.limits.memoryBytes > totalmem() - 256 * MiB);
  assert.equal(sandboxConfig({ maxVcpus: 3, maxMemory: "1GiB" }).limits, { vcpus: 3, memoryBytes: GiB });
  assert.is(refusal(() => sandboxConfig({ vcpus: 4, maxVcpus: 3 })).path, "maxVcpus");
  assert.is(refusal(() => sandboxConfig({ memory: "1GiB", maxMemory: "512MiB" })).path, "maxMemory");
  assert.is(refusal(() => sandboxConfig({ maxMemory: "1000B" })).path, "maxMemory");
  assert.is(refusal(() => sandboxConfig({ sizing: "elastic" })).path, "sizing");
  const far = refusal(() => sandboxConfig({ maxMemory: "900TiB" }));
  assert.is(far.code, "HOST_LIMIT");
});

s.test("a static sandbox takes a pod's size from annotations, and its limits are its size", () => {
  const annotations = { "io.kubernetes.cri.sandbox-cpu-quota": "150000", "io.kubernetes.cri.sandbox-cpu-period": "100000" };
  const config = sandboxConfig({ sizing: "static", vcpus: 1, annotations });
  assert.equal([config.vcpus, config.limits.vcpus], [3, 3]);
  assert.is(sandboxConfig({ annotations }).vcpus, 1, "dynamic: annotations are free text");
  const unlimited = { "io.kubernetes.cri.sandbox-cpu-quota": "-1", "io.kubernetes.cri.sandbox-cpu-period": "100000" };
  assert.is(sandboxConfig({ sizing: "static", annotations: unlimited }).vcpus, 1);
  const bad = refusal(() => sandboxConfig({ sizing: "static", annotations: { "io.kubernetes.cri.sandbox-memory": "1Gi" } }));
  assert.is(bad.path, "annotations.io.kubernetes.cri.sandbox-memory");
});

s.run();
