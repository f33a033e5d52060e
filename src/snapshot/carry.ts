import type { Holding, Json } from "../contracts/holding.ts";
import type { DiskIntent, VmGrant, VmPlugged } from "../contracts/hypervisor.ts";
import type { ContainerRecord, SandboxRecord } from "../engine/record.ts";
import { CARRIED } from "./uncarried.ts";

/** Where a disk is now. */
export interface MovedDisk {
  readonly path: string;
  /** As the device manager tells devices apart. */
  readonly identity: string;
}

/** The disks that have moved, by their paths in the record. */
export type MovedDisks = ReadonlyMap<string, MovedDisk>;

/** What a saved VM had plugged in: disks where they are now. */
export function pluggedIn({ holdings }: SandboxRecord, size: VmPlugged["size"], moved: MovedDisks, sandbox: string): VmPlugged {
  const disks = holdings
    .filter(({ kind }) => kind === "disk")
    .map(({ intent }) => {
      const { vm: _, ...disk } = intent as unknown as DiskIntent;
      return { ...disk, sandbox, path: moved.get(disk.path)?.path ?? disk.path };
    });
  return { size, disks };
}

/** Everything of a record that goes on in another sandbox, as that sandbox's own: its containers, its devices, and what it holds of them in its VM. */
export function carry(
  { containers, devices, holdings, granted, memoryBlockBytes, guest }: SandboxRecord,
  { sandbox, vm, moved }: { readonly sandbox: string; readonly vm: VmGrant; readonly moved: MovedDisks },
): Pick<SandboxRecord, "containers" | "devices" | "granted" | "memoryBlockBytes" | "guest"> & { holdings: Omit<Holding, "id">[] } {
  return {
    ...(granted && { granted }),
    ...(memoryBlockBytes !== undefined && { memoryBlockBytes }),
    ...(guest && { guest }),
    containers: Object.fromEntries(Object.entries(containers).map(([id, container]) => [id, onDisks(container, moved)])),
    devices: Object.fromEntries(Object.entries(devices).map(([id, device]) => [id, { ...device, ...moved.get(device.path) }])),
    holdings: holdings
      .filter(({ kind }) => CARRIED.includes(kind))
      .map(({ id: _, ...holding }) => ({ ...holding, intent: intentOf(holding) })),
  };

  function intentOf({ kind, intent }: Omit<Holding, "id">): Json {
    if (kind === "device") {
      const about = intent as unknown as { readonly device: { readonly path: string } };
      return { ...about, device: { ...about.device, ...moved.get(about.device.path) } };
    }
    const about = intent as { readonly [key: string]: Json };
    const path = typeof about.path === "string" ? { path: moved.get(about.path)?.path ?? about.path } : {};
    return { ...about, ...path, vm: vm as unknown as Json, ...("sandbox" in about ? { sandbox } : {}) };
  }
}

/** A container whose disks have moved finds them where they are when it is started again. */
function onDisks(container: ContainerRecord, moved: MovedDisks): ContainerRecord {
  const there = <T>(value: T): T => {
    if (typeof value === "string") return value;
    if (Array.isArray(value)) return value.map(there) as T;
    if (typeof value !== "object" || value === null) return value;
    const entries = Object.entries(value).map(([name, of]) => [
      name,
      name === "path" && typeof of === "string" ? (moved.get(of)?.path ?? of) : there(of),
    ]);
    return Object.fromEntries(entries) as T;
  };
  const { rootfs, mounts, devices } = container.config;
  return { ...container, config: { ...container.config, rootfs: there(rootfs), mounts: there(mounts), devices: there(devices) } };
}
