import fc from "fast-check";
import * as assert from "uvu/assert";
import type { Bytes } from "../../src/base/units.ts";
import { GiB, KiB, MiB } from "../../src/base/units.ts";
import { CPU_PERIOD, type ResourceConfig } from "../../src/config/resources-config.ts";
import type { VmSize } from "../../src/contracts/hypervisor.ts";
import { growthSteps, ociResources, requestOf, type Sizing, targetOf, updateRequest } from "../../src/resource/plan.ts";
import { suite } from "../support/suite.ts";

const s = suite("resource plan");
const BLOCK = 128 * MiB;
const size = (vcpus: number, memoryBytes: number): VmSize => ({ vcpus, memoryBytes: memoryBytes as Bytes });

const bytes = fc.integer({ min: 1, max: 64 * 2 ** 30 });
const request: fc.Arbitrary<VmSize> = fc.record({ vcpus: fc.integer({ min: 0, max: 8 }), memoryBytes: bytes as fc.Arbitrary<Bytes> });
const sizing: fc.Arbitrary<Sizing> = fc
  .record({
    base: fc.record({ vcpus: fc.integer({ min: 1, max: 4 }), blocks: fc.integer({ min: 1, max: 32 }) }),
    more: fc.record({ vcpus: fc.integer({ min: 0, max: 60 }), bytes: fc.integer({ min: 0, max: 2 ** 42 }) }),
    blockBytes: fc.constantFrom(0, 2 * MiB, BLOCK, 2 * GiB),
  })
  .map(({ base, more, blockBytes }) => {
    const memoryBytes = (base.blocks * BLOCK) as Bytes;
    return {
      base: { vcpus: base.vcpus, memoryBytes },
      limits: { vcpus: base.vcpus + more.vcpus, memoryBytes: (memoryBytes + more.bytes) as Bytes },
      blockBytes,
    };
  });

s.test("a target lies between what the VM booted with and its limits, and holds all requests that fit", () => {
  fc.assert(
    fc.property(sizing, fc.array(request, { maxLength: 6 }), (given, requests) => {
      const { target, clampedFrom, beyondMemory } = targetOf(given, requests);
      const { base, limits, blockBytes } = given;
      const vcpus = base.vcpus + requests.reduce((sum, each) => sum + each.vcpus, 0);
      const memory = requests.reduce((sum, each) => sum + each.memoryBytes, 0);
      assert.is(target.vcpus, Math.min(vcpus, limits.vcpus));
      assert.is(clampedFrom, vcpus > limits.vcpus ? vcpus : undefined);
      assert.ok(target.memoryBytes >= base.memoryBytes && target.memoryBytes <= limits.memoryBytes);
      if (beyondMemory !== undefined) {
        assert.ok(beyondMemory > limits.memoryBytes);
        return;
      }
      const plugged = target.memoryBytes - base.memoryBytes;
      assert.ok(plugged >= memory && plugged < memory + (blockBytes || 1), "the next whole block, and no more");
      if (blockBytes > 0) assert.is(plugged % blockBytes, 0);
    }),
    { numRuns: 2_000 },
  );
});

s.test("dropping a request leaves what the others alone would have: in whatever order they come and go", () => {
  fc.assert(
    fc.property(sizing, fc.array(request, { minLength: 1, maxLength: 6 }), fc.nat(), (given, requests, pick) => {
      const index = pick % requests.length;
      const others = requests.toSpliced(index, 1);
      assert.equal(targetOf(given, others), targetOf(given, others.toReversed()));
      const [all, less] = [targetOf(given, requests).target, targetOf(given, others).target];
      assert.ok(less.vcpus <= all.vcpus && less.memoryBytes <= all.memoryBytes);
      assert.ok(all.vcpus - less.vcpus <= (requests[index]?.vcpus ?? 0), "never more than it asked for");
    }),
    { numRuns: 1_000 },
  );
});

s.test("growth goes up in whole blocks to the aim, no step past 48 times what is there", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 64 }), fc.integer({ min: 0, max: 2 ** 17 }), fc.constantFrom(0, BLOCK), (from, more, block) => {
      const start = from * BLOCK;
      const aim = start + more * BLOCK;
      const steps = growthSteps(start, aim, block);
      assert.is(steps.at(-1), more === 0 ? undefined : aim);
      let now = start;
      for (const step of steps) {
        assert.ok(step > now && step - now <= now * 48, `${now} to ${step}`);
        if (block > 0) assert.is((step - start) % block, 0);
        now = step;
      }
    }),
  );
});

s.test("a small VM that grows by a terabyte does so in steps", () => {
  const steps = growthSteps(512 * MiB, 1024 * GiB, BLOCK);
  assert.equal(
    steps.map((step) => step / MiB),
    [512 + 48 * 512, 1024 * 1024],
  );
});

s.test("a size below 1 MiB takes a whole block, and one above 4 GiB is exact", () => {
  const given = { base: size(1, 512 * MiB), limits: size(4, 64 * GiB), blockBytes: BLOCK };
  assert.is(targetOf(given, [size(0, 4 * KiB)]).target.memoryBytes, (512 + 128) * MiB);
  assert.is(targetOf(given, [size(0, 5 * GiB)]).target.memoryBytes, 512 * MiB + 5 * GiB);
  assert.is(targetOf(given, [size(0, 4 * GiB + 1)]).target.memoryBytes, 512 * MiB + 4 * GiB + 128 * MiB);
});

const REQUESTS: readonly [string, ResourceConfig, number, number][] = [
  ["nothing", {}, 0, 0],
  ["one and a half vCPUs", { vcpus: 1.5 }, 2, 0],
  ["a hundredth of a vCPU", { vcpus: 0.01 }, 1, 0],
  ["a quota of two periods", { cpuQuota: 200_000 }, 2, 0],
  ["a quota a little above two periods", { cpuQuota: 200_001, cpuPeriod: CPU_PERIOD }, 3, 0],
  ["a quota in a period of its own", { cpuQuota: 30_000, cpuPeriod: 10_000 }, 3, 0],
  ["no limit by a negative quota", { cpuQuota: -1 }, 0, 0],
  ["a cpuset where there is no quota", { cpuset: "0-2,5" }, 4, 0],
  ["a cpuset that names vCPUs twice", { cpuset: "0-2,1-3" }, 4, 0],
  ["a negative quota with a cpuset", { cpuQuota: -1, cpuset: "1" }, 1, 0],
  ["a quota before a cpuset", { vcpus: 1, cpuset: "0-3" }, 1, 0],
  [
    "memory with swap and huge pages",
    { memoryBytes: (256 * MiB) as Bytes, swapBytes: (64 * MiB) as Bytes, hugepages: { "2MiB": (32 * MiB) as Bytes } },
    0,
    352 * MiB,
  ],
];
for (const [what, resources, vcpus, memoryBytes] of REQUESTS) {
  s.test(`${what} asks for ${vcpus} vCPUs and ${memoryBytes / MiB} MiB`, () =>
    assert.equal(requestOf(resources), size(vcpus, memoryBytes)),
  );
}

s.test("limits become those of the OCI specification, and only those that are set", () => {
  assert.equal(ociResources({}), {});
  assert.equal(ociResources({ vcpus: 0.5, pids: 10 }), { cpu: { quota: 50_000, period: 100_000 }, pids: { limit: 10 } });
  assert.equal(ociResources({ cpuQuota: -5 }), { cpu: { quota: -1, period: 100_000 } });
  const memory = { memoryBytes: (64 * MiB) as Bytes, swapBytes: (16 * MiB) as Bytes, memoryReservationBytes: (32 * MiB) as Bytes };
  assert.equal(ociResources(memory), { memory: { limit: 64 * MiB, reservation: 32 * MiB, swap: 80 * MiB } });
  const huge = { "2MiB": (4 * MiB) as Bytes, "1GiB": GiB as Bytes };
  assert.equal(ociResources({ hugepages: huge }).hugepageLimits, [
    { pageSize: "2MB", limit: 4 * MiB },
    { pageSize: "1GB", limit: GiB },
  ]);
});

s.test("an update names every field of each part, so that a limit that is gone is lifted", () => {
  const before: ResourceConfig = {
    vcpus: 2,
    memoryBytes: (64 * MiB) as Bytes,
    cpuset: "0",
    pids: 5,
    hugepages: { "2MiB": (2 * MiB) as Bytes },
  };
  const request = updateRequest(before, {}, 16);
  assert.equal(request.cpu, { quota: -1, period: 100_000, shares: 1024, cpus: "0-15" });
  assert.equal(request.memory, { limit: -1, reservation: 0, swap: -1 });
  assert.equal(request.pids, { limit: -1 });
  assert.equal(request.hugepageLimits, [{ pageSize: "2MB", limit: -1 }]);
  assert.equal(updateRequest({}, {}, 16), {});
});

s.run();
