import { readdirSync } from "node:fs";
import { join } from "node:path";
import type { CgroupStatsMessage, CpuStatsMessage, MemoryDataMessage, StatsContainerResponse } from "tapvisor/protocol";
import type { GuestContainer } from "../container/guest-container.ts";
import { cgroupFiles } from "../container/limits.ts";
import type { GuestPaths } from "../guest-paths.ts";
import { blockIoStats } from "./block-io-stats.ts";
import { networkStats } from "./network-stats.ts";
import { counter, counters, text } from "./read-files.ts";

/** What the wire has for no limit: for memory the largest number, as Kata's agents say it, for processes 0. */
const UNLIMITED = String(2n ** 64n - 1n);

/**
 * What a container has used since its creation, from the cgroup that outlives its processes; the limits, and how often the processor was withheld,
 * are those of the cgroup below. A container that has the guest's network has its counters.
 */
export function containerStats(paths: GuestPaths, container: GuestContainer): StatsContainerResponse {
  const { cgroup, limits } = container.files;
  const ownNetwork = container.config.linux.namespaces.some(({ type }) => type === "network");
  const throttling = text(join(limits, "cpu.stat"));
  if (throttling !== undefined) container.throttling = counters(throttling);
  return {
    cgroup_stats: {
      cpu_stats: cpuStats(counters(text(join(cgroup, "cpu.stat"))), container.throttling),
      memory_stats: memoryStats(container),
      pids_stats: { current: counter(join(cgroup, "pids.current")), limit: limitOf(container, "pids.max") ?? "0" },
      blkio_stats: blockIoStats(text(join(cgroup, "io.stat")) ?? ""),
      hugetlb_stats: hugetlbStats(cgroup),
    },
    network_stats: ownNetwork ? [] : networkStats(text(join(paths.proc, "self/net/dev")) ?? ""),
  };
}

function cpuStats(used: ReadonlyMap<string, string>, throttling: ReadonlyMap<string, string>): CpuStatsMessage {
  return {
    cpu_usage: {
      total_usage: nanoseconds(used.get("usage_usec")),
      percpu_usage: [], // not counted in this version of cgroups
      usage_in_kernelmode: nanoseconds(used.get("system_usec")),
      usage_in_usermode: nanoseconds(used.get("user_usec")),
    },
    throttling_data: {
      periods: throttling.get("nr_periods") ?? "0",
      throttled_periods: throttling.get("nr_throttled") ?? "0",
      throttled_time: nanoseconds(throttling.get("throttled_usec")),
    },
  };
}

function memoryStats(container: GuestContainer): CgroupStatsMessage["memory_stats"] {
  const { cgroup } = container.files;
  const stat = counters(text(join(cgroup, "memory.stat")));
  const events = counters(text(join(cgroup, "memory.events")));
  const swapEvents = counters(text(join(cgroup, "memory.swap.events")));
  const none = { max_usage: "0", failcnt: "0", limit: UNLIMITED };
  const data = (file: string, failcnt: string | undefined): MemoryDataMessage => ({
    usage: counter(join(cgroup, `${file}.current`)),
    max_usage: counter(join(cgroup, `${file}.peak`)),
    failcnt: failcnt ?? "0",
    limit: limitOf(container, `${file}.max`) ?? UNLIMITED,
  });
  return {
    cache: stat.get("file") ?? "0",
    usage: data("memory", events.get("max")),
    swap_usage: data("memory.swap", swapEvents.get("max")),
    kernel_usage: { ...none, usage: stat.get("kernel") ?? "0" },
    use_hierarchy: true,
    stats: Object.fromEntries([...stat, ...events]),
  };
}

function hugetlbStats(cgroup: string): CgroupStatsMessage["hugetlb_stats"] {
  const sizes = readdirSync(cgroup).flatMap((name) => /^hugetlb\.(\d+[KMG]B)\.current$/.exec(name)?.[1] ?? []);
  return Object.fromEntries(
    sizes.map((size) => {
      const failcnt = counters(text(join(cgroup, `hugetlb.${size}.events`))).get("max") ?? "0";
      return [size, { usage: counter(join(cgroup, `hugetlb.${size}.current`)), max_usage: "0", failcnt }];
    }),
  );
}

/** As the kernel has it while there are processes, else as it is configured; `undefined` for none. */
function limitOf({ files, config }: GuestContainer, file: string): string | undefined {
  const configured = () => cgroupFiles(config.linux.resources ?? {}).find(({ name }) => name === file)?.value;
  const limit = text(join(files.limits, file))?.trim() ?? configured();
  return limit === "max" ? undefined : limit;
}

function nanoseconds(microseconds = "0"): string {
  return String(BigInt(microseconds) * 1000n);
}
