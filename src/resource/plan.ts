import { TapvisorError } from "../base/errors.ts";
import { alignUp, type Bytes, formatBytes, MiB } from "../base/units.ts";
import { CPU_PERIOD, type ResourceConfig, vcpusIn } from "../config/resources-config.ts";
import type { VmSize } from "../contracts/hypervisor.ts";
import type { OciResources } from "../contracts/oci.ts";

export const NO_SIZE: VmSize = { vcpus: 0, memoryBytes: 0 as Bytes };

/** How many times its memory a guest can be given at once: it needs the page structures of what comes, 1/64 of it, before it has it. */
const LARGEST_GROWTH = 48;

/** What a container's limits ask of the VM: whole vCPUs by its quota, else by its cpuset; memory with swap and huge pages. */
export function requestOf(resources: ResourceConfig): VmSize {
  const { memoryBytes = 0, swapBytes = 0, hugepages = {} } = resources;
  const huge = Object.values(hugepages).reduce<number>((sum, bytes) => sum + bytes, 0);
  return { vcpus: vcpusOf(resources), memoryBytes: (memoryBytes + swapBytes + huge) as Bytes };
}

function vcpusOf({ vcpus, cpuQuota, cpuPeriod = CPU_PERIOD, cpuset }: ResourceConfig): number {
  if (vcpus !== undefined) return Math.ceil(vcpus);
  if (cpuQuota !== undefined && cpuQuota > 0) return Math.ceil(cpuQuota / cpuPeriod);
  return cpuset === undefined ? 0 : new Set(vcpusIn(cpuset)).size;
}

export interface Sizing {
  /** What the VM booted with. */
  readonly base: VmSize;
  /** How far it can grow. */
  readonly limits: VmSize;
  /** The guest's unit of memory hot-plug, bytes; 0 when it says none. */
  readonly blockBytes: number;
}

export interface Target {
  readonly target: VmSize;
  /** The vCPUs that were asked for, when the VM's limit is below. */
  readonly clampedFrom?: number;
  /** The memory that was asked for, when it is more than the VM can have: then it cannot be given at all. */
  readonly beyondMemory?: Bytes;
}

/**
 * The size that a VM should have: what it booted with and what its containers ask for, never a difference. vCPUs end at the limit; memory is rounded
 * up to the guest's blocks.
 */
export function targetOf({ base, limits, blockBytes }: Sizing, requests: readonly VmSize[]): Target {
  const sum = (pick: (size: VmSize) => number) => requests.reduce((total, each) => total + pick(each), 0);
  const vcpus = base.vcpus + sum((each) => each.vcpus);
  const plugged = alignUp(
    sum((each) => each.memoryBytes),
    blockBytes || 1,
  );
  const memoryBytes = (base.memoryBytes + plugged) as Bytes;
  return {
    target: { vcpus: Math.min(vcpus, limits.vcpus), memoryBytes: Math.min(memoryBytes, limits.memoryBytes) as Bytes },
    ...(vcpus > limits.vcpus && { clampedFrom: vcpus }),
    ...(memoryBytes > limits.memoryBytes && { beyondMemory: memoryBytes }),
  };
}

/** @throws VM_LIMIT when the memory asked for is more than the VM can have. */
export function checkMemoryLimit({ base, limits }: Sizing, { beyondMemory: wanted }: Target): void {
  if (wanted === undefined) return;
  const most = formatBytes(limits.memoryBytes);
  throw new TapvisorError(
    "VM_LIMIT",
    `Cannot grow the VM to ${formatBytes(wanted)} of memory: it booted with ${formatBytes(base.memoryBytes)} and can have at most ${most}`,
    {
      data: { what: "memory", wanted, available: limits.memoryBytes },
      hint: "ask for less, stop a container, or create the sandbox with a larger maxMemory",
    },
  );
}

/** The totals by which memory grows from one size to another, the last one the aim: each step within what the guest can take in. */
export function growthSteps(from: number, to: number, blockBytes: number): Bytes[] {
  const steps: Bytes[] = [];
  const unit = blockBytes || 1;
  for (let now = from; now < to; ) {
    const most = Math.floor((now * LARGEST_GROWTH) / unit) * unit;
    now = Math.min(to, now + Math.max(most, unit));
    steps.push(now as Bytes);
  }
  return steps;
}

/** What a guest keeps free of what it could do without: its kernel and agent need some while memory is moved. */
const SPARE_BYTES = 64 * MiB;

/** How much can be taken from a guest that has so much available: whole blocks. */
export function shrinkableBytes(availableBytes: number, blockBytes: number): number {
  const unit = blockBytes || 1;
  return Math.floor(Math.max(0, availableBytes - SPARE_BYTES) / unit) * unit;
}

/** The limits as the OCI runtime specification has them; only what is set. */
export function ociResources(resources: ResourceConfig): Omit<OciResources, "devices"> {
  const { memoryBytes, swapBytes, memoryReservationBytes, cpuShares, cpuset, pids, hugepages } = resources;
  const quota = quotaOf(resources);
  const cpu = {
    ...(quota && quota),
    ...(cpuShares !== undefined && { shares: cpuShares }),
    ...(cpuset !== undefined && { cpus: cpuset }),
  };
  const memory = {
    ...(memoryBytes !== undefined && { limit: memoryBytes }),
    ...(memoryReservationBytes !== undefined && { reservation: memoryReservationBytes }),
    ...(swapBytes !== undefined && memoryBytes !== undefined && { swap: memoryBytes + swapBytes }),
  };
  const huge = Object.entries(hugepages ?? {}).map(([size, bytes]) => ({ pageSize: size.replace("iB", "B"), limit: bytes }));
  return {
    ...(Object.keys(memory).length > 0 && { memory }),
    ...(Object.keys(cpu).length > 0 && { cpu }),
    ...(pids !== undefined && { pids: { limit: pids } }),
    ...(huge.length > 0 && { hugepageLimits: huge }),
  };
}

function quotaOf({ vcpus, cpuQuota, cpuPeriod = CPU_PERIOD }: ResourceConfig): { quota: number; period: number } | undefined {
  if (vcpus !== undefined) return { quota: Math.round(vcpus * CPU_PERIOD), period: CPU_PERIOD };
  if (cpuQuota !== undefined) return { quota: cpuQuota < 0 ? -1 : cpuQuota, period: cpuPeriod };
  return undefined;
}

const UNLIMITED = -1;
const UNLIMITED_CPU = { quota: UNLIMITED, period: CPU_PERIOD, shares: 1024 };

/**
 * What an update sends: every part that is limited now or was before, with all its fields, so that a removed limit is lifted in the guest too. A cpuset
 * is lifted by naming every vCPU there can be: the protocol takes an empty one for no change.
 */
export function updateRequest(before: ResourceConfig, after: ResourceConfig, mostVcpus: number): Omit<OciResources, "devices"> {
  const [was, is] = [ociResources(before), ociResources(after)];
  const hugeSizes = new Set([...(was.hugepageLimits ?? []), ...(is.hugepageLimits ?? [])].map(({ pageSize }) => pageSize));
  return {
    ...((was.memory || is.memory) && {
      memory: { limit: UNLIMITED, reservation: 0, swap: UNLIMITED, ...is.memory },
    }),
    ...((was.cpu || is.cpu) && { cpu: { ...UNLIMITED_CPU, cpus: was.cpu?.cpus === undefined ? "" : `0-${mostVcpus - 1}`, ...is.cpu } }),
    ...((was.pids || is.pids) && { pids: is.pids ?? { limit: UNLIMITED } }),
    ...(hugeSizes.size > 0 && {
      hugepageLimits: [...hugeSizes].map(
        (pageSize) => is.hugepageLimits?.find((each) => each.pageSize === pageSize) ?? { pageSize, limit: UNLIMITED },
      ),
    }),
  };
}
