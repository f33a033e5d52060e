import type { ContainerStats, MemoryUsage } from "tapvisor/plugin";

/** Statistics with swap alone: a cgroup v1, which Kata's guests have, counts memory and swap together. */
export function withSwapAlone(stats: ContainerStats): ContainerStats {
  const { memory } = stats;
  if (!("total_rss" in memory.counters)) return stats; // only the counters of a v1 have a total
  return { ...stats, memory: { ...memory, swap: less(memory.swap, memory.usage) } };
}

/** The peak of swap alone is not known: the two need not have peaked together. */
function less(both: MemoryUsage, memory: MemoryUsage): MemoryUsage {
  const { limitBytes: all } = both;
  const { limitBytes: some } = memory;
  return {
    bytes: Math.max(0, both.bytes - memory.bytes),
    maxBytes: 0,
    ...(all !== undefined && some !== undefined && { limitBytes: Math.max(0, all - some) }),
    failures: both.failures,
  };
}
