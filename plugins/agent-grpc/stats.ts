import type {
  BlockIoEntry,
  BlockIoStats,
  ContainerStats,
  CpuStats,
  HugetlbStats,
  MemoryStats,
  MemoryUsage,
  NetworkStats,
} from "tapvisor/plugin";
import type {
  BlkioEntryMessage,
  CpuStatsMessage,
  HugetlbStatsMessage,
  MemoryDataMessage,
  MemoryStatsMessage,
  NetworkStatsMessage,
  StatsContainerResponse,
} from "tapvisor/protocol";
import { exact, wrong } from "./answers.ts";
import { guestText } from "./guest-text.ts";
import { MAX_STATS_ENTRIES, MAX_STATS_NAME } from "./limits.ts";

type Take = (value: string) => number;

/** @throws GUEST_PROTOCOL when it has no statistics, or a number that is not exact. */
export function containerStats({ cgroup_stats, network_stats }: StatsContainerResponse, subject: string): ContainerStats {
  const what = `statistics of ${subject}`;
  if (!cgroup_stats) throw wrong(what, "none", "a cgroup's");
  const take: Take = (value) => exact(value, what);
  const { cpu_stats, memory_stats, pids_stats, blkio_stats, hugetlb_stats } = cgroup_stats;
  const entries = (list: readonly BlkioEntryMessage[] = []) => bounded(list).map((entry) => blockIoEntry(entry, take));
  const blockIo: BlockIoStats = {
    serviceBytes: entries(blkio_stats?.io_service_bytes_recursive),
    serviced: entries(blkio_stats?.io_serviced_recursive),
    queued: entries(blkio_stats?.io_queued_recursive),
    serviceTime: entries(blkio_stats?.io_service_time_recursive),
    waitTime: entries(blkio_stats?.io_wait_time_recursive),
    merged: entries(blkio_stats?.io_merged_recursive),
    time: entries(blkio_stats?.io_time_recursive),
    sectors: entries(blkio_stats?.sectors_recursive),
  };
  return {
    cpu: cpuStats(cpu_stats, take),
    memory: memoryStats(memory_stats, take),
    pids: { current: take(pids_stats?.current ?? "0"), ...limitOf("limit", pids_stats?.limit) },
    blockIo,
    hugetlb: named(hugetlb_stats, (each) => hugetlbStats(each, take)),
    network: bounded(network_stats).map((each) => networkStats(each, take)),
  };
}

function cpuStats(message: CpuStatsMessage | null, take: Take): CpuStats {
  const { cpu_usage, throttling_data } = message ?? {};
  // A machine of many processors counts more nanoseconds in a year than a number holds exactly, and the thousandth part of it well within.
  const microseconds = (nanoseconds = "0") => take(String(BigInt(nanoseconds) / 1000n));
  return {
    totalUs: microseconds(cpu_usage?.total_usage),
    perVcpuUs: bounded(cpu_usage?.percpu_usage ?? []).map(microseconds),
    kernelUs: microseconds(cpu_usage?.usage_in_kernelmode),
    userUs: microseconds(cpu_usage?.usage_in_usermode),
    throttling: {
      periods: take(throttling_data?.periods ?? "0"),
      throttledPeriods: take(throttling_data?.throttled_periods ?? "0"),
      throttledUs: microseconds(throttling_data?.throttled_time),
    },
  };
}

function memoryStats(message: MemoryStatsMessage | null, take: Take): MemoryStats {
  const all = message?.stats ?? {};
  // Kata's agents have the limits of a cgroup v1 among the counters: one that is not set is beyond all numbers.
  const counted = Object.fromEntries(Object.entries(all).filter(([name, value]) => !(name.endsWith("_limit") && isUnlimited(value))));
  return {
    usage: memoryUsage(message?.usage, take),
    swap: memoryUsage(message?.swap_usage, take),
    kernel: memoryUsage(message?.kernel_usage, take),
    cacheBytes: take(message?.cache ?? "0"),
    useHierarchy: message?.use_hierarchy ?? false,
    oomKills: take(all.oom_kill ?? "0"),
    counters: named(counted, take),
  };
}

function memoryUsage(message: MemoryDataMessage | null | undefined, take: Take): MemoryUsage {
  return {
    bytes: take(message?.usage ?? "0"),
    maxBytes: take(message?.max_usage ?? "0"),
    ...limitOf("limitBytes", message?.limit),
    failures: take(message?.failcnt ?? "0"),
  };
}

function blockIoEntry({ major, minor, op, value }: BlkioEntryMessage, take: Take): BlockIoEntry {
  return { major: take(major), minor: take(minor), operation: guestText(op, MAX_STATS_NAME), value: take(value) };
}

function hugetlbStats({ usage, max_usage, failcnt }: HugetlbStatsMessage, take: Take): HugetlbStats {
  return { bytes: take(usage), maxBytes: take(max_usage), failures: take(failcnt) };
}

function networkStats(message: NetworkStatsMessage, take: Take): NetworkStats {
  return {
    name: guestText(message.name, MAX_STATS_NAME),
    receivedBytes: take(message.rx_bytes),
    receivedPackets: take(message.rx_packets),
    receiveErrors: take(message.rx_errors),
    receiveDropped: take(message.rx_dropped),
    sentBytes: take(message.tx_bytes),
    sentPackets: take(message.tx_packets),
    sendErrors: take(message.tx_errors),
    sendDropped: take(message.tx_dropped),
  };
}

/** Absent when there is none: agents say 0 for that, or a number beyond all that could be one. */
function limitOf<Key extends string>(key: Key, value = "0"): { readonly [K in Key]?: number } {
  return value === "0" || isUnlimited(value) ? {} : ({ [key]: Number(value) } as { [K in Key]: number });
}

function isUnlimited(value: string): boolean {
  return !Number.isSafeInteger(Number(value));
}

function named<Value, Made>(all: Readonly<Record<string, Value>>, make: (value: Value) => Made): Record<string, Made> {
  return Object.fromEntries(bounded(Object.entries(all)).map(([name, value]) => [guestText(name, MAX_STATS_NAME), make(value)]));
}

function bounded<Item>(list: readonly Item[]): readonly Item[] {
  return list.slice(0, MAX_STATS_ENTRIES);
}
