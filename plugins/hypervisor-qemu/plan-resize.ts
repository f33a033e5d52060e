import type { PlannedCommand, VmSize } from "tapvisor/plugin";
import { VIRTIO_MEM } from "./command-line.ts";
import type { MemoryDevice } from "./size-limits.ts";

/** Where a vCPU goes, as `query-hotpluggable-cpus` says it: its type's name and the properties that tell it from the others. */
export interface VcpuSlot {
  readonly type: string;
  readonly props: Readonly<Record<string, number>>;
}

export const vcpuId = (index: number): string => `cpu-${index}`;
export const dimmId = (slot: number): string => `dimm-${slot}`;
/** The memory behind a module. Its name is in QEMU's other name space, that of objects. */
export const dimmMemoryId = (slot: number): string => `${dimmId(slot)}-ram`;

export function plugVcpu(index: number, { type, props }: VcpuSlot): PlannedCommand {
  return { command: "device_add", arguments: { driver: type, id: vcpuId(index), ...props } };
}

/** The memory first, the module second. Shared: a vhost-user server, virtiofsd say, reads and writes in it. */
export function plugDimm(slot: number, bytes: number): readonly [memory: PlannedCommand, module: PlannedCommand] {
  const memdev = dimmMemoryId(slot);
  return [
    { command: "object-add", arguments: { "qom-type": "memory-backend-memfd", id: memdev, size: bytes, share: true } },
    { command: "device_add", arguments: { driver: "pc-dimm", id: dimmId(slot), memdev, slot } },
  ];
}

export function removeDimmMemory(id: string): PlannedCommand {
  return { command: "object-del", arguments: { id } };
}

export function requestVirtioMem(bytes: number): PlannedCommand {
  return { command: "qom-set", arguments: { path: `/machine/peripheral/${VIRTIO_MEM}`, property: "requested-size", value: bytes } };
}

/**
 * The commands by which a VM goes from one size to another, as far as its limits. A pure function, which takes the smaller memory for what the
 * VM booted with, and the memory beyond it for one module; and names vCPUs as QEMU's software emulation does. A running VM is asked for all this.
 */
export function planResize(from: VmSize, to: VmSize, limits: VmSize, memoryDevice: MemoryDevice = "virtio-mem"): readonly PlannedCommand[] {
  const memory = Math.min(to.memoryBytes, limits.memoryBytes);
  return [
    ...planMemory(from.memoryBytes, memory, memoryDevice),
    ...planVcpus(from.vcpus, Math.min(to.vcpus, limits.vcpus)), // memory first: a guest that has too little of it gains nothing from vCPUs
  ];
}

function planMemory(from: number, to: number, device: MemoryDevice): readonly PlannedCommand[] {
  if (from === to) return [];
  if (device === "virtio-mem") return [requestVirtioMem(Math.max(0, to - from))];
  if (to > from) return plugDimm(0, to - from);
  return [unplug(dimmId(0)), removeDimmMemory(dimmMemoryId(0))];
}

function planVcpus(from: number, to: number): PlannedCommand[] {
  const indexes = Array.from({ length: Math.abs(to - from) }, (_, n) => Math.min(from, to) + n);
  if (to < from) return indexes.toReversed().map((index) => unplug(vcpuId(index)));
  return indexes.map((index) => plugVcpu(index, { type: "max-x86_64-cpu", props: { "socket-id": 0, "core-id": index, "thread-id": 0 } }));
}

function unplug(id: string): PlannedCommand {
  return { command: "device_del", arguments: { id } };
}
