import { basename } from "node:path";
import { messageOf, type Resized } from "tapvisor/plugin";
import { isRefusal } from "./device-steps.ts";
import type { Machine } from "./machine.ts";
import { plugVcpu, type VcpuSlot } from "./plan-resize.ts";
import { resized, whyKept } from "./resized.ts";
import { unplugDevice } from "./unplug-device.ts";

/** A place for a vCPU, and where QEMU has the one that is in it. */
export interface Vcpu extends VcpuSlot {
  readonly "qom-path"?: string;
}

/** QEMU's words for where a vCPU is, the coarsest first. */
const PLACE = ["socket-id", "die-id", "cluster-id", "module-id", "core-id", "thread-id"];
/** What was plugged in after the boot has a name of its own and is found here. */
export const PLUGGED_AT = "/machine/peripheral/";

/** All places, lowest index first: QEMU lists them the other way round, and a guest given the highest first hung. */
export async function queryVcpus(machine: Machine, signal?: AbortSignal): Promise<Vcpu[]> {
  const places = (await machine.execute("query-hotpluggable-cpus", {}, { signal })) as readonly Vcpu[];
  return places.toSorted((a, b) => {
    const level = PLACE.find((name) => a.props[name] !== b.props[name]) ?? "";
    return (a.props[level] ?? 0) - (b.props[level] ?? 0);
  });
}

export function isPlugged(vcpu: Vcpu): boolean {
  return vcpu["qom-path"] !== undefined;
}

/**
 * Brings the number of vCPUs to `target`, or as near as QEMU and the guest let it. Under emulation nothing is taken away, since QEMU aborts when
 * such a vCPU is added again; the guest parks it.
 */
export async function resizeVcpus(machine: Machine, accelerator: string, target: number, signal: AbortSignal): Promise<Resized> {
  const vcpus = await queryVcpus(machine);
  const now = vcpus.filter(isPlugged).length;
  if (target > now) return addVcpus(machine, vcpus, target, signal);
  if (target === now || accelerator === "tcg") return { reached: now };
  return removeVcpus(machine, vcpus, target, signal);
}

async function addVcpus(machine: Machine, vcpus: readonly Vcpu[], target: number, signal: AbortSignal): Promise<Resized> {
  let reached = vcpus.filter(isPlugged).length;
  for (const [index, vcpu] of vcpus.entries()) {
    if (isPlugged(vcpu)) continue;
    if (reached === target) break;
    const plug = plugVcpu(index, vcpu);
    try {
      await machine.execute(plug.command, plug.arguments, { signal });
    } catch (error) {
      if (isRefusal(error)) return { reached, shortfall: messageOf(error) };
      throw error;
    }
    reached += 1;
  }
  return resized(reached, target, `the machine has room for ${vcpus.length} vCPUs`);
}

/**
 * Takes vCPUs away, the one with the highest index first, and none that the VM booted with. The guest gets 5 s for each. Unsafe under
 * emulation, unless no vCPU is ever added to this VM again.
 */
export async function removeVcpus(machine: Machine, vcpus: readonly Vcpu[], target: number, signal: AbortSignal): Promise<Resized> {
  let left = vcpus.filter(isPlugged).length;
  for (const { "qom-path": path = "" } of vcpus.toReversed()) {
    if (left === target) break;
    if (!path.startsWith(PLUGGED_AT)) continue;
    const id = basename(path);
    try {
      await unplugDevice(machine, { id, what: `vCPU "${id}"`, signal });
    } catch (error) {
      const why = whyKept(error);
      if (why === undefined) throw error;
      const reached = (await queryVcpus(machine)).filter(isPlugged).length; // it may have gone after all
      return resized(reached, target, why);
    }
    left -= 1;
  }
  return { reached: left };
}
