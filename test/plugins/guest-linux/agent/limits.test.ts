import * as assert from "uvu/assert";
import { cgroupFiles, checkLimits, mergeLimits, runtimeLimits } from "../../../../plugins/guest-linux/agent/container/limits.ts";
import { StatusError } from "../../../../plugins/guest-linux/agent/status.ts";
import type { OciResources } from "../../../../src/contracts/oci.ts";
import { suite } from "../../../support/suite.ts";

const s = suite("guest agent: limits");

const ALL: OciResources = {
  memory: { limit: 100, reservation: 50, swap: 150 },
  cpu: { shares: 2048, quota: 50_000, period: 200_000, cpus: "0-1", mems: "0" },
  pids: { limit: 33 },
  hugepageLimits: [{ pageSize: "2MB", limit: 4 }],
};

function written(limits: OciResources): Record<string, string> {
  return Object.fromEntries(cgroupFiles(limits).map(({ name, value }) => [name, value]));
}

s.test("each limit has its file, as the runtime itself writes it, and memory's comes last", () => {
  assert.equal(written(ALL), {
    "cpu.max": "50000 200000",
    "cpu.weight": "79",
    "cpuset.cpus": "0-1",
    "cpuset.mems": "0",
    "pids.max": "33",
    "hugetlb.2MB.max": "4",
    "memory.low": "50",
    "memory.swap.max": "50",
    "memory.max": "100",
  });
  assert.is(cgroupFiles(ALL).at(-1)?.name, "memory.max");
  assert.equal(cgroupFiles({}), []);
});

s.test("no limit is max, and no reservation is no protection", () => {
  const none = { memory: { limit: -1, reservation: -1, swap: -1 }, cpu: { quota: -1 }, pids: { limit: -1 } };
  assert.equal(written({ ...none, hugepageLimits: [{ pageSize: "1GB", limit: -1 }] }), {
    "cpu.max": "max 100000",
    "pids.max": "max",
    "hugetlb.1GB.max": "max",
    "memory.low": "0",
    "memory.swap.max": "max",
    "memory.max": "max",
  });
  assert.equal(written({ cpu: { quota: 0 }, pids: { limit: 0 } }), { "cpu.max": "max 100000", "pids.max": "max" });
  assert.equal(written({ cpu: { period: 50_000 } }), { "cpu.max": "max 50000" });
});

s.test("shares become a weight in the kernel's range, from one end to the other", () => {
  const weights = [1, 2, 1024, 262_144, 10 ** 9].map((shares) => written({ cpu: { shares } })["cpu.weight"]);
  assert.equal(weights, ["1", "1", "39", "10000", "10000"]);
});

s.test("a change replaces what it gives, one by one, and leaves the rest", () => {
  const changed = mergeLimits(ALL, {
    memory: { limit: 200 },
    cpu: { quota: -1 },
    pids: { limit: 5 },
    hugepageLimits: [{ pageSize: "1GB", limit: 8 }],
  });
  assert.equal(changed, {
    memory: { limit: 200, reservation: 50, swap: 150 },
    cpu: { shares: 2048, quota: -1, period: 200_000, cpus: "0-1", mems: "0" },
    pids: { limit: 5 },
    hugepageLimits: [
      { pageSize: "2MB", limit: 4 },
      { pageSize: "1GB", limit: 8 },
    ],
  });
  assert.equal(mergeLimits(ALL, {}), ALL);
  assert.equal(mergeLimits({}, ALL), ALL);
  const rules = [{ allow: false, access: "rwm" }];
  assert.equal(mergeLimits({ devices: rules }, { devices: [] }).devices, rules, "the rules are those of the creation");
});

s.test("what the kernel would refuse, or what could become another file, is INVALID_ARGUMENT with its name", () => {
  const cases: readonly (readonly [string, OciResources])[] = [
    ["memory.limit", { memory: { limit: -2 } }],
    ["memory.reservation", { memory: { reservation: -2 } }],
    ["memory.swap", { memory: { swap: 100 } }],
    ["memory.swap", { memory: { limit: -1, swap: 100 } }],
    ["memory.swap", { memory: { limit: 101, swap: 100 } }],
    ["cpu.quota", { cpu: { quota: 999 } }],
    ["cpu.period", { cpu: { period: 999 } }],
    ["cpu.period", { cpu: { period: 1_000_001 } }],
    ["cpu.cpus", { cpu: { cpus: "0-" } }],
    ["cpu.cpus", { cpu: { cpus: "0\n1" } }],
    ["cpu.mems", { cpu: { mems: "a" } }],
    ["hugepageLimits", { hugepageLimits: [{ pageSize: "../../x", limit: 1 }] }],
    ["hugepageLimits", { hugepageLimits: [{ pageSize: "2MB", limit: -2 }] }],
  ];
  for (const [field, limits] of cases) {
    try {
      checkLimits(limits);
    } catch (error) {
      assert.ok(error instanceof StatusError && error.status === "INVALID_ARGUMENT" && error.message.includes(field), String(error));
      continue;
    }
    assert.unreachable(JSON.stringify(limits));
  }
  checkLimits(ALL);
  checkLimits({ memory: { limit: -1, swap: -1 }, cpu: { quota: -1 }, pids: { limit: -1 } });
});

s.test("the runtime gets only limits: what says none it would take for something else", () => {
  const none = { memory: { limit: -1, reservation: -1, swap: -1 }, cpu: { quota: -1, period: 1000, cpus: "0" }, pids: { limit: 0 } };
  assert.equal(runtimeLimits({ ...none, hugepageLimits: [{ pageSize: "2MB", limit: -1 }] }), {
    memory: {},
    cpu: { period: 1000, cpus: "0" },
    hugepageLimits: [],
  });
  assert.equal(runtimeLimits(ALL), ALL);
  assert.equal(runtimeLimits({ cpu: { shares: 1 } }).cpu, { shares: 2 }, "1 it would turn into a weight that the kernel refuses");
});

s.run();
