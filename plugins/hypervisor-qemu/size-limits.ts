import { type Bytes, MiB, toMiBCeil, type VmIntent, type VmSize } from "tapvisor/plugin";

/** What memory is plugged in as: one device that gives and takes in small pieces, or modules that come and go as a whole. */
export type MemoryDevice = "virtio-mem" | "pc-dimm";

/** How far a VM's size goes; kept in its grant, for a later process. */
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
