import { TapvisorError } from "../base/errors.ts";
import { type Bytes, formatBytes } from "../base/units.ts";
import type { GuestResources } from "../contracts/agent.ts";
import type { Call, Json } from "../contracts/holding.ts";
import type { Resized, VmSize, VmSizing } from "../contracts/hypervisor.ts";
import type { SandboxContext } from "../engine/context.ts";
import type { GrantedSize } from "../engine/record.ts";
import { vmGrantOf } from "../sandbox/vm-grant.ts";
import { sizingOf, targetFor } from "./ledger.ts";
import { pinVcpus } from "./pin-vcpus.ts";
import { checkMemoryLimit, growthSteps, shrinkableBytes } from "./plan.ts";

/** The sizes that this process itself has brought about, with nothing outstanding: what they say needs no second look. */
const settled = new WeakSet<GrantedSize>();

export interface Fit {
  /** Whether what is not needed any more is taken back too. A shrink that the guest delays is no failure: the ledger says what it has. */
  readonly shrink: boolean;
  /** A request that is being given back, and counts no more. */
  readonly without?: Json;
}

/**
 * Moves the VM to the size that the requests of its living containers add up to, and notes what it really has by then. Asking again is harmless.
 * Memory comes before vCPUs, and the guest gives a vCPU up before it is taken away.
 * @throws VM_LIMIT when it cannot grow that far; what the hypervisor throws.
 */
export async function fitVm(sb: SandboxContext, call: Call, { shrink, without }: Fit): Promise<void> {
  const { record } = sb.journal;
  const { sizing } = await sb.guest.connectVm(vmGrantOf(sb), call);
  if (!sizing) return;
  const aim = targetFor(record, without);
  if (!shrink) checkMemoryLimit(sizingOf(record), aim);
  const { target, clampedFrom } = aim;
  if (isFitting(record.granted, target, shrink)) return;
  if (clampedFrom !== undefined) sb.log.warn({ wanted: clampedFrom, limit: target.vcpus }, "the VM cannot have that many vCPUs");
  // Half of what a release has, all in all: what the guest still keeps then comes back later, and is no failure of the release.
  const shrinking = { ...call, signal: AbortSignal.any([call.signal, AbortSignal.timeout(Math.ceil(sb.releaseTimeoutMs / 2))]) };
  const before = await sizing.size(call);
  let plugged = before.vcpus;
  let memoryBytes: number = before.memoryBytes;
  let online = record.granted?.vcpus ?? record.config.vcpus;
  let confirmed = record.granted?.confirmed;
  let outstanding = true;
  const runOn = async (vcpus: number) => {
    confirmed = await syncGuest(sb, call, { vcpus, added: plugged - before.vcpus, cpuOnly: memoryBytes <= before.memoryBytes });
    online = confirmed?.onlineVcpus ?? plugged;
  };
  try {
    for (const step of growthSteps(memoryBytes, target.memoryBytes, sizingOf(record).blockBytes)) {
      memoryBytes = reachedOf(await sizing.resizeMemory(step, call), step, "memory");
    }
    if (target.vcpus > plugged) {
      const grown = await sizing.resizeVcpus(target.vcpus, call);
      plugged = grown.reached; // also when it is not all that was asked for
      reachedOf(grown, target.vcpus, "vcpus");
      await pinVcpus(sb, call);
    }
    const wanted = shrink ? target.vcpus : Math.max(target.vcpus, online);
    await runOn(wanted); // also when nothing seems to change: an earlier request may have taken effect and failed
    if (online < wanted) throw tooFew("vcpus", wanted, online, "the guest does not bring the others online");
    outstanding = shrink;
    if (!shrink) return;
    if (plugged > target.vcpus) plugged = (await sizing.resizeVcpus(target.vcpus, call)).reached;
    if (memoryBytes > target.memoryBytes) {
      const shrunk = await shrinkMemory(sb, { sizing, now: memoryBytes, confirmed }, target, shrinking);
      memoryBytes = shrunk.reached;
      if (shrunk.shortfall !== undefined) return; // it may still come, and a guest at it may be long in answering
      await runOn(target.vcpus);
    }
    outstanding = false;
  } finally {
    const granted: GrantedSize = {
      vcpus: Math.min(online, plugged),
      pluggedVcpus: plugged,
      memoryBytes: memoryBytes as Bytes,
      ...(confirmed && { confirmed }),
    };
    record.granted = granted;
    if (!outstanding) settled.add(granted);
  }
}

/** Whether the VM is known to have the size already: then neither QEMU nor the guest is asked. */
function isFitting(granted: GrantedSize | undefined, target: VmSize, shrink: boolean): boolean {
  if (!granted || !settled.has(granted)) return false;
  const { vcpus, memoryBytes } = granted;
  return shrink ? vcpus === target.vcpus && memoryBytes === target.memoryBytes : vcpus >= target.vcpus && memoryBytes >= target.memoryBytes;
}

/** Has the guest run on so many vCPUs; one without parking brings online what was added. A guest that cannot be reached is left as it is. */
async function syncGuest(
  sb: SandboxContext,
  call: Call,
  { vcpus, added, cpuOnly }: { readonly vcpus: number; readonly added: number; readonly cpuOnly: boolean },
): Promise<GuestResources | undefined> {
  if (!sb.guest.isConnected) return undefined;
  const { client } = sb.guest;
  const resources = await client.syncResources({ vcpus }, call);
  if (resources === undefined && (added > 0 || !cpuOnly)) await client.onlineCpuMem({ vcpus: added, cpuOnly }, call);
  return resources;
}

/**
 * Memory in use is not asked back: a guest does not refuse, it kills what uses it. A stopped container's files may be such memory, until it is deleted.
 * What a guest has free is not known of one that cannot say; then it is asked for all.
 */
async function shrinkMemory(
  sb: SandboxContext,
  { sizing, now, confirmed }: { readonly sizing: VmSizing; readonly now: number; readonly confirmed: GuestResources | undefined },
  { memoryBytes }: VmSize,
  call: Call,
): Promise<Resized> {
  const { blockBytes } = sizingOf(sb.journal.record);
  const spare = confirmed ? shrinkableBytes(confirmed.availableBytes, blockBytes) : now;
  const aim = Math.max(memoryBytes, now - spare) as Bytes;
  if (aim === now) {
    sb.log.warn({ wanted: memoryBytes, has: now }, "the guest uses the memory that could be taken back");
    return { reached: now };
  }
  const shrunk = await sizing.resizeMemory(aim, call);
  const { reached, shortfall } = shrunk;
  if (reached > memoryBytes)
    sb.log.warn({ wanted: memoryBytes, reached, reason: shortfall }, "the guest has not given back all memory yet");
  return shrunk;
}

function reachedOf({ reached, shortfall }: Resized, wanted: number, what: "vcpus" | "memory"): number {
  if (reached < wanted) throw tooFew(what, wanted, reached, shortfall ?? "the hypervisor does not say why");
  return reached;
}

function tooFew(what: "vcpus" | "memory", wanted: number, reached: number, why: string): TapvisorError {
  const say = (amount: number) => (what === "memory" ? `${formatBytes(amount)} of memory` : `${amount} vCPUs`);
  return new TapvisorError("VM_LIMIT", `Cannot grow the VM to ${say(wanted)}: it has ${say(reached)}: ${why}`, {
    data: { what, wanted, available: reached },
  });
}
