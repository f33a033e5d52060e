/** The messages of StatsContainer as they are decoded. Bytes, numbers of things, and times in nanoseconds; 64-bit integers are decimal strings. */
export interface StatsContainerResponse {
  readonly cgroup_stats: CgroupStatsMessage | null;
  readonly network_stats: readonly NetworkStatsMessage[];
}

export interface CgroupStatsMessage {
  readonly cpu_stats: CpuStatsMessage | null;
  readonly memory_stats: MemoryStatsMessage | null;
  /** A limit of 0 is none. */
  readonly pids_stats: { readonly current: string; readonly limit: string } | null;
  readonly blkio_stats: BlkioStatsMessage | null;
  /** By page size, "2MB" say. */
  readonly hugetlb_stats: Readonly<Record<string, HugetlbStatsMessage>>;
}

export interface CpuStatsMessage {
  readonly cpu_usage: {
    readonly total_usage: string;
    readonly percpu_usage: readonly string[];
    readonly usage_in_kernelmode: string;
    readonly usage_in_usermode: string;
  } | null;
  readonly throttling_data: {
    readonly periods: string;
    readonly throttled_periods: string;
    readonly throttled_time: string;
  } | null;
}

export interface MemoryStatsMessage {
  readonly cache: string;
  readonly usage: MemoryDataMessage | null;
  readonly swap_usage: MemoryDataMessage | null;
  readonly kernel_usage: MemoryDataMessage | null;
  readonly use_hierarchy: boolean;
  /** The kernel's own counters, by its names for them. */
  readonly stats: Readonly<Record<string, string>>;
}

export interface MemoryDataMessage {
  readonly usage: string;
  readonly max_usage: string;
  readonly failcnt: string;
  /** What is not limited has the largest number there is, or nearly: cgroup v1 rounds it down to a page. */
  readonly limit: string;
}

export type BlkioListName =
  | "io_service_bytes_recursive"
  | "io_serviced_recursive"
  | "io_queued_recursive"
  | "io_service_time_recursive"
  | "io_wait_time_recursive"
  | "io_merged_recursive"
  | "io_time_recursive"
  | "sectors_recursive";

export type BlkioStatsMessage = Readonly<Record<BlkioListName, readonly BlkioEntryMessage[]>>;

export interface BlkioEntryMessage {
  readonly major: string;
  readonly minor: string;
  readonly op: string;
  readonly value: string;
}

export interface HugetlbStatsMessage {
  readonly usage: string;
  readonly max_usage: string;
  readonly failcnt: string;
}

export interface NetworkStatsMessage {
  readonly name: string;
  readonly rx_bytes: string;
  readonly rx_packets: string;
  readonly rx_errors: string;
  readonly rx_dropped: string;
  readonly tx_bytes: string;
  readonly tx_packets: string;
  readonly tx_errors: string;
  readonly tx_dropped: string;
}
