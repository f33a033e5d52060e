/**
 * What a container has used since it was created, from its cgroup: the structure of Kata's `CgroupStats`, with the unit in each name. A value that the
 * guest's kernel does not count is 0, a limit that is not set is absent. Times are in microseconds, which is what a cgroup v2 counts in.
 */
export interface ContainerStats {
  readonly cpu: CpuStats;
  readonly memory: MemoryStats;
  readonly pids: { readonly current: number; readonly limit?: number };
  readonly blockIo: BlockIoStats;
  /** By page size, "2MB" say. */
  readonly hugetlb: Readonly<Record<string, HugetlbStats>>;
  readonly network: readonly NetworkStats[];
}

export interface CpuStats {
  readonly totalUs: number;
  /** By vCPU; empty where the kernel does not count so, as with cgroup v2. */
  readonly perVcpuUs: readonly number[];
  readonly kernelUs: number;
  readonly userUs: number;
  readonly throttling: { readonly periods: number; readonly throttledPeriods: number; readonly throttledUs: number };
}

export interface MemoryStats {
  readonly usage: MemoryUsage;
  readonly swap: MemoryUsage;
  readonly kernel: MemoryUsage;
  /** The page cache, bytes. */
  readonly cacheBytes: number;
  readonly useHierarchy: boolean;
  /** How often the kernel's out-of-memory killer ended a process of the container. */
  readonly oomKills: number;
  /** Every counter of memory.stat and memory.events, by the kernel's name. */
  readonly counters: Readonly<Record<string, number>>;
}

export interface MemoryUsage {
  readonly bytes: number;
  /** The most there ever was. */
  readonly maxBytes: number;
  readonly limitBytes?: number;
  /** How often the limit was hit. */
  readonly failures: number;
}

export interface BlockIoStats {
  readonly serviceBytes: readonly BlockIoEntry[];
  readonly serviced: readonly BlockIoEntry[];
  readonly queued: readonly BlockIoEntry[];
  readonly serviceTime: readonly BlockIoEntry[];
  readonly waitTime: readonly BlockIoEntry[];
  readonly merged: readonly BlockIoEntry[];
  readonly time: readonly BlockIoEntry[];
  readonly sectors: readonly BlockIoEntry[];
}

export interface BlockIoEntry {
  readonly major: number;
  readonly minor: number;
  /** "Read", "Write", … */
  readonly operation: string;
  readonly value: number;
}

export interface HugetlbStats {
  readonly bytes: number;
  readonly maxBytes: number;
  readonly failures: number;
}

export interface NetworkStats {
  readonly name: string;
  readonly receivedBytes: number;
  readonly receivedPackets: number;
  readonly receiveErrors: number;
  readonly receiveDropped: number;
  readonly sentBytes: number;
  readonly sentPackets: number;
  readonly sendErrors: number;
  readonly sendDropped: number;
}
