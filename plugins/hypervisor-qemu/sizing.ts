import { type Call, formatBytes, type Resized, TapvisorError, type VmGrant, type VmSizing } from "tapvisor/plugin";
import type { Machine } from "./machine.ts";
import { vmEnded } from "./machines.ts";
import { querySize } from "./query-size.ts";
import { resizeDimms } from "./resize-dimms.ts";
import { resizeVcpus } from "./resize-vcpus.ts";
import { resizeVirtioMem } from "./resize-virtio-mem.ts";
import { BLOCK_BYTES, type SizeLimits } from "./size-limits.ts";

/**
 * Grows and shrinks one VM, one change at a time. All that is known of it is in its grant and in QEMU, so any process that is connected can.
 *
 * Both changes throw INVALID_INPUT for a target that is no amount, VM_LIMIT above the limit, VM_FAILED when the VM has ended, ABORTED when the
 * caller has given up before anything changed.
 */
export function vmSizing(machine: Machine, grant: VmGrant): VmSizing | undefined {
  const sizes = grant.details as SizeLimits | undefined;
  if (!sizes) return undefined;
  const { boot, limits, memoryDevice } = sizes;
  const living = async <T>(work: Promise<T>): Promise<T> => {
    try {
      return await work;
    } catch (error) {
      throw (await machine.endedAfter(error)) ? await vmEnded(grant, "resize", error) : error;
    }
  };
  const alone = <T>(work: () => Promise<T>, { signal }: Call) => living(machine.resizing.run(work, signal));
  const hasVirtioMem = memoryDevice === "virtio-mem" && limits.memoryBytes > boot.memoryBytes; // one that cannot grow has no device
  const resizeWith = hasVirtioMem ? resizeVirtioMem : resizeDimms;
  return {
    size: ({ signal }) => living(querySize(machine, signal)),
    async resizeVcpus(target, call) {
      checkTarget(grant, "vcpus", target, boot.vcpus, limits.vcpus);
      const wanted = Math.max(target, boot.vcpus);
      return alone(() => resizeVcpus(machine, grant.accelerator, wanted, call.signal), call).then(downTo("vcpus", boot.vcpus, target));
    },
    async resizeMemory(target, call) {
      checkTarget(grant, "memory", target, boot.memoryBytes, limits.memoryBytes);
      checkBlocks(grant, target, sizes);
      const wanted = { sandbox: grant.sandbox, boot: boot.memoryBytes, target: Math.max(target, boot.memoryBytes) };
      return alone(() => resizeWith(machine, wanted, call), call).then(downTo("memory", boot.memoryBytes, target));
    },
  };
}

type What = "vcpus" | "memory";

/** Says why a resize has ended at what the VM booted with, when less was asked for. */
function downTo(what: What, boot: number, target: number): (resized: Resized) => Resized {
  return (resized) =>
    target < boot && resized.reached === boot ? { reached: boot, shortfall: `the VM booted with ${say(what, boot)}` } : resized;
}

function say(what: What, amount: number): string {
  return what === "vcpus" ? `${amount} vCPUs` : `${formatBytes(amount)} of memory`;
}

function checkTarget({ sandbox }: VmGrant, what: What, target: number, boot: number, limit: number): void {
  if (!Number.isSafeInteger(target) || target < 1) {
    const wanted = what === "vcpus" ? "a whole number, at least 1" : "a whole number of bytes above 0";
    throw new TapvisorError("INVALID_INPUT", `Cannot resize the VM of sandbox "${sandbox}": ${what} is ${target}, wanted ${wanted}`, {
      data: { path: what, value: target, wanted },
    });
  }
  if (target <= limit) return;
  throw new TapvisorError(
    "VM_LIMIT",
    `Cannot grow the VM of sandbox "${sandbox}" to ${say(what, target)}: it booted with ${say(what, boot)} and can have at most ${say(what, limit)}`,
    {
      data: { what, wanted: target, available: limit },
      hint: `ask for less, or create the sandbox with a larger ${what === "vcpus" ? "maxVcpus" : "maxMemory"}`,
    },
  );
}

function checkBlocks({ sandbox }: VmGrant, target: number, { boot: { memoryBytes }, memoryDevice }: SizeLimits): void {
  const block = BLOCK_BYTES[memoryDevice];
  if (target <= memoryBytes || (target - memoryBytes) % block === 0) return;
  const wanted = `${formatBytes(memoryBytes)}, with which it booted, and a multiple of ${formatBytes(block)}`;
  throw new TapvisorError("INVALID_INPUT", `Cannot resize the VM of sandbox "${sandbox}" to ${formatBytes(target)}: wanted ${wanted}`, {
    data: { path: "memory", value: target, wanted },
  });
}
