import type { Bytes } from "../base/units.ts";
import type { Json } from "../contracts/holding.ts";
import type { VmGrant, VmSize } from "../contracts/hypervisor.ts";
import type { SandboxRecord } from "../engine/record.ts";
import { type Sizing, type Target, targetOf } from "./plan.ts";

/** The kind of holding that a container's share of the VM's vCPUs and memory is: those that are held make up the VM's size. */
export const RESOURCES = "resources";

export interface ResourcesIntent {
  readonly vm: VmGrant;
  readonly container: string;
  readonly vcpus: number;
  readonly memoryBytes: Bytes;
}

/** What a sandbox has and why: the sizes are totals. Memory in bytes. */
export interface SandboxResources {
  /** What the VM booted with. It never gets smaller. */
  readonly base: VmSize;
  /** What each container that lives has asked for on top. */
  readonly requests: Readonly<Record<string, VmSize>>;
  /** The size the VM should have: `base` and all `requests`, in whole blocks of the guest's memory and within the limits. */
  readonly target: VmSize;
  /** The size it has: more than `target` while the guest has not given back all it was asked to. */
  readonly granted: VmSize;
  /** vCPUs that are plugged in and that the guest does not run on: they cannot be taken away safely, and are used again first. */
  readonly parkedVcpus: number;
  /** What the guest says it runs on: vCPUs, and the memory its kernel does not keep for itself. Absent for a guest that cannot say. */
  readonly confirmed?: VmSize;
  readonly limits: VmSize;
  /** The guest's unit of memory hot-plug; 0 when it has none. */
  readonly memoryBlockBytes: number;
  /** The vCPUs that the containers ask for, when that is more than the limit. */
  readonly clampedFrom?: number;
}

/** The ledger as it is recorded. */
export function ledgerOf(record: SandboxRecord): SandboxResources {
  const sizing = sizingOf(record);
  const requests = requestsOf(record);
  const { target, clampedFrom } = targetOf(sizing, Object.values(requests));
  const { granted } = record;
  const confirmed = granted?.confirmed;
  return {
    base: sizing.base,
    requests,
    target,
    granted: granted ? { vcpus: granted.vcpus, memoryBytes: granted.memoryBytes } : sizing.base,
    parkedVcpus: granted ? granted.pluggedVcpus - granted.vcpus : 0,
    ...(confirmed && { confirmed: { vcpus: confirmed.onlineVcpus, memoryBytes: confirmed.memoryBytes as Bytes } }),
    limits: sizing.limits,
    memoryBlockBytes: sizing.blockBytes,
    ...(clampedFrom !== undefined && { clampedFrom }),
  };
}

/** What each container asks for: its newest request, while an update is under way. One whose release has failed asks for nothing any more. */
export function requestsOf({ holdings }: Pick<SandboxRecord, "holdings">, without?: Json): Record<string, VmSize> {
  const requests: Record<string, VmSize> = {};
  for (const { kind, status, intent } of holdings) {
    if (kind !== RESOURCES || status === "failed" || intent === without) continue;
    const { container, vcpus, memoryBytes } = intent as unknown as ResourcesIntent;
    requests[container] = { vcpus, memoryBytes };
  }
  return requests;
}

export function sizingOf({ config, memoryBlockBytes = 0 }: SandboxRecord): Sizing {
  const base = { vcpus: config.vcpus, memoryBytes: config.memoryBytes };
  return { base, limits: config.limits ?? base, blockBytes: memoryBlockBytes };
}

/** The size a sandbox's VM should have, leaving out one request. */
export function targetFor(record: SandboxRecord, without?: Json): Target {
  return targetOf(sizingOf(record), Object.values(requestsOf(record, without)));
}
