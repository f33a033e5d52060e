import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { status } from "@grpc/grpc-js";
import * as assert from "uvu/assert";
import { suite } from "../../../support/suite.ts";
import { fakeCgroup } from "./support/fake-cgroup.ts";
import { type FakeGuest, fakeGuest, refusal } from "./support/fake-guest.ts";

const s = suite("guest agent: statistics");
const UNLIMITED = "18446744073709551615";

const OUTER = {
  "cpu.stat": "usage_usec 12345\nuser_usec 2345\nsystem_usec 10000\nnr_periods 0\nnr_throttled 0\nthrottled_usec 0\n",
  "memory.current": "4096\n",
  "memory.peak": "8192\n",
  "memory.stat": "anon 1000\nfile 2000\nkernel 300\nshmem 0\n",
  "memory.events": "low 0\nhigh 1\nmax 5\noom 2\noom_kill 1\noom_group_kill 0\n",
  "memory.swap.current": "7\n",
  "memory.swap.events": "high 0\nmax 9\nfail 0\n",
  "pids.current": "3\n",
  "io.stat": "254:16 rbytes=49152 wbytes=512 rios=3 wios=1 dbytes=0 dios=0\n254:0 \n8:0 rbytes=1\n",
  "hugetlb.2MB.current": "2097152\n",
  "hugetlb.2MB.events": "max 4\n",
  "hugetlb.1GB.current": "0\n",
};
const INNER = {
  "cpu.stat": "usage_usec 1\nnr_periods 85\nnr_throttled 49\nthrottled_usec 2613171\n",
  "memory.max": "104857600\n",
  "memory.swap.max": "max\n",
  "pids.max": "40\n",
};
const NET_DEV = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:       1       2    3    4    0     0          0         0        5       6    7    8    0     0       0          0
eth0.10:1234567      10    0    0    0     0          0         0  7654321      20    0    0    0     0       0          0
`;

async function container(guest: FakeGuest, linux: object = {}): Promise<void> {
  await mkdir(join(guest.paths.proc, "self/net"), { recursive: true });
  await writeFile(join(guest.paths.proc, "self/net/dev"), NET_DEV);
  const spec = guest.spec(["sleep", "1000"]);
  await guest.call("CreateSandbox", { sandbox_id: "s" });
  await guest.call("CreateContainer", { container_id: "c", OCI: { ...spec, Linux: { ...spec.Linux, ...linux } as never } });
}

const outer = (guest: FakeGuest) => join(guest.paths.cgroups, "tapvisor/c");
const stats = async (guest: FakeGuest) => {
  const { cgroup_stats, network_stats } = await guest.call("StatsContainer", { container_id: "c" });
  assert.ok(cgroup_stats);
  return { ...cgroup_stats, network_stats };
};

s.test("the cgroup's files have their places in Kata's structure, with times in nanoseconds", async () => {
  await using guest = await fakeGuest();
  await container(guest);
  await guest.call("StartContainer", { container_id: "c" });
  await using _outer = await fakeCgroup(outer(guest), OUTER);
  await using _inner = await fakeCgroup(join(outer(guest), "container"), INNER);
  const { cpu_stats, memory_stats, pids_stats, blkio_stats, hugetlb_stats } = await stats(guest);
  assert.equal(cpu_stats, {
    cpu_usage: { total_usage: "12345000", percpu_usage: [], usage_in_kernelmode: "10000000", usage_in_usermode: "2345000" },
    throttling_data: { periods: "85", throttled_periods: "49", throttled_time: "2613171000" },
  });
  assert.equal(memory_stats, {
    cache: "2000",
    usage: { usage: "4096", max_usage: "8192", failcnt: "5", limit: "104857600" },
    swap_usage: { usage: "7", max_usage: "0", failcnt: "9", limit: UNLIMITED },
    kernel_usage: { usage: "300", max_usage: "0", failcnt: "0", limit: UNLIMITED },
    use_hierarchy: true,
    stats: {
      anon: "1000",
      file: "2000",
      kernel: "300",
      shmem: "0",
      low: "0",
      high: "1",
      max: "5",
      oom: "2",
      oom_kill: "1",
      oom_group_kill: "0",
    },
  });
  assert.equal(pids_stats, { current: "3", limit: "40" });
  const entry = (major: string, minor: string, op: string, value: string) => ({ major, minor, op, value });
  assert.equal(blkio_stats?.io_service_bytes_recursive, [
    entry("254", "16", "Read", "49152"),
    entry("254", "16", "Write", "512"),
    entry("254", "16", "Discard", "0"),
    entry("8", "0", "Read", "1"),
    entry("8", "0", "Write", "0"),
    entry("8", "0", "Discard", "0"),
  ]);
  assert.equal(blkio_stats?.io_serviced_recursive[0], entry("254", "16", "Read", "3"));
  assert.equal(blkio_stats?.io_merged_recursive, []);
  assert.equal(hugetlb_stats, {
    "1GB": { usage: "0", max_usage: "0", failcnt: "0" },
    "2MB": { usage: "2097152", max_usage: "0", failcnt: "4" },
  });
});

s.test("before the start and after the end the limits are those of the configuration, and the throttling what was last seen", async () => {
  await using guest = await fakeGuest();
  await container(guest, { Resources: { Memory: { Limit: "1000" }, Pids: { Limit: "5" } } });
  const limits = async () => {
    const { memory_stats, pids_stats, cpu_stats } = await stats(guest);
    return [memory_stats?.usage?.limit, memory_stats?.swap_usage?.limit, pids_stats?.limit, cpu_stats?.throttling_data?.periods];
  };
  assert.equal(await limits(), ["1000", UNLIMITED, "5", "0"]);
  await guest.call("UpdateContainer", { container_id: "c", resources: { Memory: { Limit: "-1" }, Pids: { Limit: "-1" } } as never });
  assert.equal(await limits(), [UNLIMITED, UNLIMITED, "0", "0"]);
  await guest.call("StartContainer", { container_id: "c" });
  {
    await using _inner = await fakeCgroup(join(outer(guest), "container"), INNER);
    assert.equal(await limits(), ["104857600", UNLIMITED, "40", "85"]);
  }
  await guest.call("SignalProcess", { container_id: "c", exec_id: "c", signal: 9 });
  await guest.call("WaitProcess", { container_id: "c", exec_id: "c" });
  assert.equal(await limits(), [UNLIMITED, UNLIMITED, "0", "85"]);
});

s.test("a container with the guest's network has its counters, one with its own has none", async () => {
  await using guest = await fakeGuest();
  await container(guest);
  assert.equal((await stats(guest)).network_stats, [
    {
      name: "lo",
      rx_bytes: "1",
      rx_packets: "2",
      rx_errors: "3",
      rx_dropped: "4",
      tx_bytes: "5",
      tx_packets: "6",
      tx_errors: "7",
      tx_dropped: "8",
    },
    {
      name: "eth0.10",
      rx_bytes: "1234567",
      rx_packets: "10",
      rx_errors: "0",
      rx_dropped: "0",
      tx_bytes: "7654321",
      tx_packets: "20",
      tx_errors: "0",
      tx_dropped: "0",
    },
  ]);
  await guest.call("RemoveContainer", { container_id: "c" });
  await guest.call("DestroySandbox", {});
  await container(guest, { Namespaces: [{ Type: "network" }] });
  assert.equal((await stats(guest)).network_stats, []);
});

s.test("what this kernel does not count is 0, and a container that is not there is NOT_FOUND", async () => {
  await using guest = await fakeGuest();
  await container(guest);
  const { cpu_stats, memory_stats, pids_stats, hugetlb_stats } = await stats(guest);
  assert.is(cpu_stats?.cpu_usage?.total_usage, "0");
  assert.equal(memory_stats?.stats, {});
  assert.equal(pids_stats, { current: "0", limit: "0" });
  assert.equal(hugetlb_stats, {});
  assert.is((await refusal(guest.call("StatsContainer", { container_id: "x" }))).status, status.NOT_FOUND);
});

s.run();
