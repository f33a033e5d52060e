import { type Bytes, MiB, toMiBCeil, type VmGrant, type VmIntent, type VmSize } from "tapvisor/plugin";
import type { QemuUser } from "./user.ts";

/** What memory is plugged in as: one device that gives and takes in small pieces, or modules that come and go as a whole. */
export type MemoryDevice = "virtio-mem" | "pc-dimm";

/** What is kept in a VM's grant for a later process: how far its size goes, and whose its memory is. */
export interface VmDetails extends SizeLimits {
  /** Absent when it is the VM's own. */
  readonly memory?: NonNullable<VmIntent["memory"]>["kind"];
  /** Whom QEMU runs as when that is not who started it. */
  readonly user?: QemuUser;
}

/** How far a VM's size goes. */
export interface SizeLimits {
  readonly boot: VmSize;
  /** As far as the memory device's blocks let it. */
  readonly limits: VmSize;
  readonly memoryDevice: MemoryDevice;
}

/** The smallest piece of memory that comes and goes, bytes: QEMU's block, which is a large page; and what Linux on x86-64 takes a module by. */
export const BLOCK_BYTES: Readonly<Record<MemoryDevice, number>> = { "virtio-mem": 2 * MiB, "pc-dimm": 128 * MiB };

/** A machine has whole MiB, and grows by whole blocks. */
export function sizeLimits(
  { vcpus, memoryBytes, limits }: Pick<VmIntent, "vcpus" | "memoryBytes" | "limits">,
  memoryDevice: MemoryDevice,
): SizeLimits {
  const boot = toMiBCeil(memoryBytes) * MiB;
  const block = BLOCK_BYTES[memoryDevice];
  const growth = Math.floor(Math.max(0, (limits?.memoryBytes ?? 0) - boot) / block) * block;
  return {
    boot: { vcpus, memoryBytes: boot as Bytes },
    limits: { vcpus: limits?.vcpus ?? vcpus, memoryBytes: (boot + growth) as Bytes },
    memoryDevice,
  };
}

export function vmDetails(intent: VmIntent, memoryDevice: MemoryDevice, user?: QemuUser): VmDetails {
  return { ...sizeLimits(intent, memoryDevice), ...(intent.memory && { memory: intent.memory.kind }), ...(user && { user }) };
}

/** Whom a running VM's QEMU runs as, when that is not who started it. */
export function userOf({ details }: Pick<VmGrant, "details">): QemuUser | undefined {
  return (details as VmDetails | undefined)?.user;
}
