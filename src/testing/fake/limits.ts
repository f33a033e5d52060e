import type { OciResources } from "../../contracts/oci.ts";
import { agentError } from "./agent-error.ts";

/** What the kernel takes for a period, and the least quota, microseconds; 0 is no quota. */
const MIN_PERIOD_US = 1_000;
const MAX_PERIOD_US = 1_000_000;

/** `limits` with what is present in `change` in its place: memory's and the CPU's fields one by one, huge pages by their size. */
export function changedLimits(limits: OciResources, change: OciResources): OciResources {
  const { memory, cpu, pids, hugepageLimits = [] } = change;
  const pages = new Map([...(limits.hugepageLimits ?? []), ...hugepageLimits].map((each) => [each.pageSize, each]));
  return {
    ...limits,
    ...(memory ? { memory: { ...limits.memory, ...present(memory) } } : {}),
    ...(cpu ? { cpu: { ...limits.cpu, ...present(cpu) } } : {}),
    ...(pids ? { pids } : {}),
    ...(pages.size > 0 ? { hugepageLimits: [...pages.values()] } : {}),
  };
}

/** @throws AGENT_FAILED INVALID_ARGUMENT where the kernel would refuse one of them. */
export function checkLimits(method: string, { memory, cpu, pids }: OciResources): void {
  const limit = (value: number | undefined, least = 0) =>
    value === undefined || value === -1 || (Number.isSafeInteger(value) && value >= least);
  const wrong = Object.entries({
    "memory.limit": limit(memory?.limit),
    "memory.reservation": limit(memory?.reservation),
    "memory.swap":
      limit(memory?.swap) && ((memory?.swap ?? -1) === -1 || (memory?.swap ?? 0) >= (memory?.limit ?? Number.POSITIVE_INFINITY)),
    "cpu.quota": cpu?.quota === 0 || limit(cpu?.quota, MIN_PERIOD_US),
    "cpu.period": cpu?.period === undefined || (cpu.period >= MIN_PERIOD_US && cpu.period <= MAX_PERIOD_US),
    "cpu.cpus": cpu?.cpus === undefined || /^(\d+(-\d+)?(,\d+(-\d+)?)*)?$/.test(cpu.cpus),
    "pids.limit": limit(pids?.limit),
  }).flatMap(([name, right]) => (right ? [] : [name]));
  if (wrong.length > 0) throw agentError(method, "INVALID_ARGUMENT", `${wrong.join(", ")} cannot be set so`);
}

function present<T extends object>(fields: T): Partial<T> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Partial<T>;
}
