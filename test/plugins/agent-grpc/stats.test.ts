import fc from "fast-check";
import * as assert from "uvu/assert";
import { isTapvisorError } from "../../../src/base/errors.ts";
import type { ContainerStats } from "../../../src/contracts/stats.ts";
import { quietCall } from "../../../src/testing/quiet-call.ts";
import { suite } from "../../support/suite.ts";
import { failure } from "./expect.ts";
import { connected, grpcGuest } from "./fake-guest.ts";

const s = suite("agent-grpc statistics");

async function statsOf(answer: object): Promise<ContainerStats> {
  await using guest = await grpcGuest({ StatsContainer: (_, reply) => reply(null, answer) });
  await using client = await connected(guest);
  return await client.statsContainer("c", quietCall()); // before the client is closed
}

const NOTHING = { bytes: 0, maxBytes: 0, failures: 0 };

s.test("every field has its place, and times are microseconds", async () => {
  const memory = (usage: string, limit: string) => ({ usage, max_usage: "20", failcnt: "3", limit });
  const lists = {
    io_service_bytes_recursive: "serviceBytes",
    io_serviced_recursive: "serviced",
    io_queued_recursive: "queued",
    io_service_time_recursive: "serviceTime",
    io_wait_time_recursive: "waitTime",
    io_merged_recursive: "merged",
    io_time_recursive: "time",
    sectors_recursive: "sectors",
  };
  const stats = await statsOf({
    cgroup_stats: {
      cpu_stats: {
        cpu_usage: { total_usage: "12999", percpu_usage: ["1000", "2000"], usage_in_kernelmode: "5000", usage_in_usermode: "7000" },
        throttling_data: { periods: "4", throttled_periods: "2", throttled_time: "9000" },
      },
      memory_stats: {
        cache: "4096",
        usage: memory("10", "100"),
        swap_usage: memory("11", "101"),
        kernel_usage: memory("12", "102"),
        use_hierarchy: true,
        stats: { anon: "7", oom_kill: "1" },
      },
      pids_stats: { current: "2", limit: "50" },
      blkio_stats: Object.fromEntries(
        Object.keys(lists).map((name, index) => [name, [{ major: "8", minor: "16", op: "Read", value: String(index) }]]),
      ),
      hugetlb_stats: { "2MB": { usage: "1", max_usage: "2", failcnt: "3" } },
    },
    network_stats: [
      {
        name: "eth0",
        rx_bytes: "1",
        rx_packets: "2",
        rx_errors: "3",
        rx_dropped: "4",
        tx_bytes: "5",
        tx_packets: "6",
        tx_errors: "7",
        tx_dropped: "8",
      },
    ],
  });
  const usage = (bytes: number, limitBytes: number) => ({ bytes, maxBytes: 20, failures: 3, limitBytes });
  assert.equal(stats, {
    cpu: {
      totalUs: 12,
      perVcpuUs: [1, 2],
      kernelUs: 5,
      userUs: 7,
      throttling: { periods: 4, throttledPeriods: 2, throttledUs: 9 },
    },
    memory: {
      usage: usage(10, 100),
      swap: usage(11, 101),
      kernel: usage(12, 102),
      cacheBytes: 4096,
      useHierarchy: true,
      oomKills: 1,
      counters: { anon: 7, oom_kill: 1 },
    },
    pids: { current: 2, limit: 50 },
    blockIo: Object.fromEntries(
      Object.values(lists).map((name, index) => [name, [{ major: 8, minor: 16, operation: "Read", value: index }]]),
    ) as never,
    hugetlb: { "2MB": { bytes: 1, maxBytes: 2, failures: 3 } },
    network: [
      {
        name: "eth0",
        receivedBytes: 1,
        receivedPackets: 2,
        receiveErrors: 3,
        receiveDropped: 4,
        sentBytes: 5,
        sentPackets: 6,
        sendErrors: 7,
        sendDropped: 8,
      },
    ],
  });
});

s.test("what is not counted is 0, and a limit that is not set is absent, in whatever way the agent says it", async () => {
  const empty = await statsOf({ cgroup_stats: {} });
  assert.equal(empty.memory, {
    usage: NOTHING,
    swap: NOTHING,
    kernel: NOTHING,
    cacheBytes: 0,
    useHierarchy: false,
    oomKills: 0,
    counters: {},
  });
  assert.equal(empty.pids, { current: 0 });
  const unlimited = ["18446744073709551615", "9223372036854771712", "0"];
  const [usage, swap_usage, kernel_usage] = unlimited.map((limit) => ({ limit }));
  const stats = await statsOf({
    cgroup_stats: {
      memory_stats: { usage, swap_usage, kernel_usage, stats: { hierarchical_memory_limit: "9223372036854771712", cache: "1" } },
      pids_stats: { limit: "0" },
    },
  });
  assert.equal([stats.memory.usage, stats.memory.swap, stats.memory.kernel], [NOTHING, NOTHING, NOTHING]);
  assert.equal(stats.memory.counters, { cache: 1 });
  assert.equal(stats.pids, { current: 0 });
});

s.test("CPU time is exact far beyond 2^53 nanoseconds, which 64 vCPUs reach in two days", async () => {
  const stats = await statsOf({ cgroup_stats: { cpu_stats: { cpu_usage: { total_usage: "9007199254740991999" } } } });
  assert.is(stats.cpu.totalUs, Number.MAX_SAFE_INTEGER);
});

for (const [what, answer] of [
  ["no cgroup", { network_stats: [{ name: "eth0" }] }],
  ["a counter above 2^53", { cgroup_stats: { memory_stats: { stats: { anon: "9007199254740993" } } } }],
  ["a size above 2^53", { cgroup_stats: { memory_stats: { usage: { usage: "18446744073709551615" } } } }],
  ["a number of processes above 2^53", { cgroup_stats: { pids_stats: { current: "9007199254740992" } } }],
  ["a device number above 2^53", { cgroup_stats: { blkio_stats: { sectors_recursive: [{ major: "9007199254740992" }] } } }],
  ["traffic above 2^53", { cgroup_stats: {}, network_stats: [{ tx_bytes: "18446744073709551615" }] }],
] as const) {
  s.test(`${what} is GUEST_PROTOCOL`, async () => {
    await failure("GUEST_PROTOCOL", statsOf(answer));
  });
}

s.test("lists are bounded, and names are escaped and bounded, whatever they say", async () => {
  const many = Array.from({ length: 300 }, (_, index) => index);
  const name = `\u001b]0;x${"n".repeat(400)}`;
  const stats = await statsOf({
    cgroup_stats: {
      cpu_stats: { cpu_usage: { percpu_usage: many.map(String) } },
      memory_stats: { stats: Object.fromEntries([["__proto__", "5"], ...many.map((each) => [`counter-${each}`, "1"])]) },
      blkio_stats: { io_merged_recursive: many.map(() => ({ op: name })) },
      hugetlb_stats: Object.fromEntries([[name, { usage: "1" }]]),
    },
    network_stats: many.map(() => ({ name })),
  });
  const { length } = stats.cpu.perVcpuUs;
  assert.equal([length, stats.blockIo.merged.length, stats.network.length], [256, 256, 256]);
  assert.is(Object.keys(stats.memory.counters).length, 256);
  assert.is(Object.getPrototypeOf(stats.memory.counters), Object.prototype);
  for (const text of [stats.network[0]?.name, stats.blockIo.merged[0]?.operation, Object.keys(stats.hugetlb)[0]]) {
    assert.ok(text?.startsWith("\\u{1b}]0;xnnn"), text);
    assert.ok((text?.length ?? 0) < 300);
  }
});

s.test("any numbers and names at all: the call ends with statistics in bounds or a typed error", async () => {
  const text = fc.string({ unit: "binary", maxLength: 300 });
  const number = fc.oneof(fc.maxSafeNat().map(String), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map(String));
  const memory = fc.record({ usage: number, limit: number }, { requiredKeys: [] });
  const answers = fc.record(
    {
      cgroup_stats: fc.record(
        {
          cpu_stats: fc.record({ cpu_usage: fc.record({ total_usage: number, percpu_usage: fc.array(number) }) }),
          memory_stats: fc.record({ usage: memory, kernel_usage: memory, stats: fc.dictionary(text, number) }, { requiredKeys: [] }),
          pids_stats: fc.record({ current: number, limit: number }),
        },
        { requiredKeys: [] },
      ),
      network_stats: fc.array(fc.record({ name: text, rx_bytes: number })),
    },
    { requiredKeys: [] },
  );
  let next: object = {};
  await using guest = await grpcGuest({ StatsContainer: (_, reply) => reply(null, next) });
  await using client = await connected(guest);
  await fc.assert(
    fc.asyncProperty(answers, async (answer) => {
      next = answer;
      const stats = await client.statsContainer("c", quietCall()).catch((error) => error);
      if (isTapvisorError(stats)) assert.is(stats.code, "GUEST_PROTOCOL");
      else {
        for (const value of numbersIn(stats)) assert.ok(Number.isSafeInteger(value) && value >= 0, String(value));
        assert.not.match(JSON.stringify(Object.keys(stats.memory.counters)), /[\u0000-\u001f\u007f-\u009f]/);
      }
    }),
    { numRuns: 200 },
  );
});

s.run();

function numbersIn(value: unknown): number[] {
  if (typeof value === "number") return [value];
  return typeof value === "object" && value !== null ? Object.values(value).flatMap(numbersIn) : [];
}
