import { KiB } from "../../base/units.ts";
import type { ResourceOptions } from "../resources-config.ts";
import type { Refuse } from "./refuse.ts";
import type { OciConfig } from "./schema.ts";

type OciConfigResources = NonNullable<NonNullable<OciConfig["linux"]>["resources"]>;

const PAGE = 4 * KiB;
const PAGE_SIZES: Readonly<Record<string, string>> = { "2MB": "2MiB", "1GB": "1GiB" };

/** Limits as the options of the short form, so that the VM grows for them. A zero and a negative number are no limit. */
export function bundleResources({ memory = {}, cpu = {}, pids, hugepageLimits = [] }: OciConfigResources, refuse: Refuse): ResourceOptions {
  const limit = pages(memory.limit);
  if (memory.swap !== undefined && memory.swap > 0 && (limit === undefined || memory.swap < (memory.limit ?? 0))) {
    throw refuse("linux.resources.memory.swap", "memory and swap together, not less than memory.limit");
  }
  const swap = limit === undefined || memory.swap === undefined ? undefined : pages(memory.swap - limit);
  const hugepages = hugepageLimits.map(({ pageSize, limit: most }, index): [string, number] => {
    const size = PAGE_SIZES[pageSize];
    if (size === undefined) throw refuse(`linux.resources.hugepageLimits.${index}.pageSize`, '"2MB" or "1GB"');
    return [size, most];
  });
  return given({
    memory: limit,
    swap,
    memoryReservation: pages(memory.reservation),
    cpuQuota: positive(cpu.quota),
    cpuPeriod: positive(cpu.period),
    cpuShares: positive(cpu.shares),
    cpuset: cpu.cpus || undefined,
    pids: positive(pids?.limit),
    hugepages: hugepages.length > 0 ? Object.fromEntries(hugepages) : undefined,
  });
}

function positive(value: number | undefined): number | undefined {
  return value !== undefined && value > 0 ? value : undefined;
}

/** The kernel counts whole pages, and rounds down. */
function pages(bytes: number | undefined): number | undefined {
  return bytes !== undefined && bytes > 0 ? Math.max(PAGE, Math.floor(bytes / PAGE) * PAGE) : undefined;
}

function given(limits: { readonly [K in keyof ResourceOptions]: ResourceOptions[K] | undefined }): ResourceOptions {
  return Object.fromEntries(Object.entries(limits).filter(([, value]) => value !== undefined)) as ResourceOptions;
}
