import type { OciResources } from "tapvisor/plugin";
import { StatusError } from "../status.ts";

/** A file of a cgroup and what goes into it. */
export interface CgroupFile {
  readonly name: string;
  readonly value: string;
}

/** What the kernel takes for a period, microseconds, and the least quota; the period that it has when none is given. */
const MIN_PERIOD_US = 1000;
const MAX_PERIOD_US = 1_000_000;
const DEFAULT_PERIOD_US = 100_000;
/** The range of CPU shares, and that of the weight they become. */
const MIN_SHARES = 2;
const MAX_SHARES = 262_144;
const MAX_WEIGHT = 10_000;

const LIST = /^\d+(?:-\d+)?(?:,\d+(?:-\d+)?)*$/;
const PAGE_SIZE = /^\d{1,6}[KMG]B$/;

/** The limits with what is present in `change` in place of what they were; memory's and the CPU's one by one, huge pages by their size. */
export function mergeLimits(limits: OciResources, change: OciResources): OciResources {
  const { memory, cpu, pids, hugepageLimits = [] } = change;
  const pages = new Map([...(limits.hugepageLimits ?? []), ...hugepageLimits].map((each) => [each.pageSize, each]));
  return {
    ...limits,
    ...(memory && { memory: { ...limits.memory, ...memory } }),
    ...(cpu && { cpu: { ...limits.cpu, ...cpu } }),
    ...(pids && { pids }),
    ...(pages.size > 0 && { hugepageLimits: [...pages.values()] }),
  };
}

/** @throws INVALID_ARGUMENT naming what the kernel would refuse. */
export function checkLimits({ memory, cpu, hugepageLimits = [] }: OciResources): void {
  const bytes = (value: number | undefined) => value === undefined || value >= -1;
  want("memory.limit", memory?.limit, bytes(memory?.limit), "bytes, or -1 for none");
  want("memory.reservation", memory?.reservation, bytes(memory?.reservation), "bytes, or -1 for none");
  const swapFits = memory?.swap === undefined || memory.swap === -1 || ((memory.limit ?? -1) > 0 && memory.swap >= (memory.limit ?? 0));
  want("memory.swap", memory?.swap, swapFits, "memory and swap together, not less than memory.limit, or -1 for none");
  const quota = cpu?.quota ?? 0;
  want("cpu.quota", quota, quota <= 0 || quota >= MIN_PERIOD_US, `${MIN_PERIOD_US} microseconds or more, or -1 for none`);
  const period = cpu?.period ?? DEFAULT_PERIOD_US;
  want("cpu.period", period, period >= MIN_PERIOD_US && period <= MAX_PERIOD_US, `${MIN_PERIOD_US} to ${MAX_PERIOD_US} microseconds`);
  want("cpu.shares", cpu?.shares, (cpu?.shares ?? 0) >= 0, `${MIN_SHARES} to ${MAX_SHARES}`);
  for (const name of ["cpus", "mems"] as const) {
    const list = cpu?.[name];
    want(`cpu.${name}`, list, list === undefined || LIST.test(list), "a list such as 0-2,4");
  }
  for (const { pageSize, limit } of hugepageLimits) {
    want("hugepageLimits.pageSize", pageSize, PAGE_SIZE.test(pageSize), "a size such as 2MB"); // it becomes a file's name
    want(`hugepageLimits of ${pageSize}`, limit, limit >= -1, "bytes, or -1 for none");
  }
}

/** The files of a cgroup v2 that set the limits which are given, `memory.max` last. */
export function cgroupFiles({ memory, cpu, pids, hugepageLimits = [] }: OciResources): readonly CgroupFile[] {
  const files: CgroupFile[] = [];
  const set = (name: string, value: string | number | undefined) => {
    if (value !== undefined) files.push({ name, value: String(value) });
  };
  if (cpu?.quota !== undefined || cpu?.period !== undefined) {
    set("cpu.max", `${(cpu.quota ?? 0) > 0 ? cpu.quota : "max"} ${cpu.period ?? DEFAULT_PERIOD_US}`);
  }
  if (cpu?.shares !== undefined) set("cpu.weight", weightOf(cpu.shares));
  set("cpuset.cpus", cpu?.cpus);
  set("cpuset.mems", cpu?.mems);
  if (pids) set("pids.max", pids.limit > 0 ? pids.limit : "max");
  for (const { pageSize, limit } of hugepageLimits) set(`hugetlb.${pageSize}.max`, orMax(limit));
  // Here it is a protection against others' pressure, so without one it is 0.
  if (memory?.reservation !== undefined) set("memory.low", Math.max(0, memory.reservation));
  if (memory?.swap !== undefined) set("memory.swap.max", memory.swap < 0 ? "max" : memory.swap - (memory.limit ?? 0));
  if (memory?.limit !== undefined) set("memory.max", orMax(memory.limit));
  return files;
}

/** The limits as the OCI runtime gets them: of those that say "none" it has an opinion of its own, and a new cgroup has none anyway. */
export function runtimeLimits(limits: OciResources): OciResources {
  const { memory, cpu, pids, hugepageLimits, ...rest } = limits;
  const shares = cpu?.shares && Math.max(MIN_SHARES, cpu.shares);
  return {
    ...rest,
    ...(memory && { memory: limited(memory) }),
    ...(cpu && { cpu: limited({ ...cpu, ...(shares && { shares }) }) }),
    ...(pids && pids.limit > 0 && { pids }),
    ...(hugepageLimits && { hugepageLimits: hugepageLimits.filter(({ limit }) => limit >= 0) }),
  };
}

function limited<T extends object>(limits: T): Partial<T> {
  return Object.fromEntries(Object.entries(limits).filter(([, value]) => !(typeof value === "number" && value < 0))) as Partial<T>;
}

/** The runtime's own conversion, so that a limit is the same whether it came with the container or later. */
function weightOf(shares: number): number {
  const within = Math.min(MAX_SHARES, Math.max(MIN_SHARES, shares));
  return 1 + Math.floor(((within - MIN_SHARES) * (MAX_WEIGHT - 1)) / (MAX_SHARES - MIN_SHARES));
}

function orMax(limit: number): string | number {
  return limit < 0 ? "max" : limit;
}

function want(field: string, value: unknown, holds: boolean, wanted: string): void {
  if (!holds) throw new StatusError("INVALID_ARGUMENT", `Cannot use ${field} ${JSON.stringify(value)}: wanted ${wanted}`);
}
