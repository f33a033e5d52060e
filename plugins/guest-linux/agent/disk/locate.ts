import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Disk } from "./disk.ts";

/** A block device as the guest has it. */
export interface BlockDevice {
  /** The kernel's name for it, "sda". */
  readonly name: string;
  readonly major: number;
  readonly minor: number;
  readonly bytes: number;
  readonly readonly: boolean;
}

/** Sizes are in sectors of this many bytes there, whatever the disk's own are. */
const SECTOR_BYTES = 512;

/** The block device of a disk; `undefined` while there is none. The class shows it with its numbers, /sys/block only a moment later. Only looks, and only at files that the kernel makes on the spot. */
export function locateDisk(sys: string, disk: Disk): BlockDevice | undefined {
  const name = disk.driver === "blk" ? pciDisk(sys, disk) : scsiDisk(sys, disk);
  if (name === undefined) return undefined;
  const value = (file: string) => readFileSync(join(sys, "class/block", name, file), "utf8").trim();
  try {
    const [major = 0, minor = 0] = value("dev").split(":").map(Number);
    return { name, major, minor, bytes: Number(value("size")) * SECTOR_BYTES, readonly: value("ro") === "1" };
  } catch {
    return undefined; // it is just going
  }
}

/** The bridge says the number of the bus behind it, and the device has its slot there. */
function pciDisk(sys: string, { bridge, slot }: Extract<Disk, { driver: "blk" }>): string | undefined {
  const devices = join(sys, "bus/pci/devices");
  const [bus] = list(join(devices, `0000:00:${bridge}.0`, "pci_bus"));
  if (bus === undefined) return undefined;
  const device = join(devices, `${bus}:${slot}.0`);
  const virtio = list(device).find((name) => /^virtio\d+$/.test(name));
  return virtio === undefined ? undefined : list(join(device, virtio, "block"))[0];
}

/** `host:channel:id:lun`; virtio-scsi has one channel. */
function scsiDisk(sys: string, { id, lun }: Extract<Disk, { driver: "scsi" }>): string | undefined {
  const devices = join(sys, "class/scsi_device");
  const device = list(devices).find((name) => name.endsWith(`:0:${id}:${lun}`) && /^\d+:/.test(name));
  return device === undefined ? undefined : list(join(devices, device, "device/block"))[0];
}

/** Empty when there is no such directory. */
export function list(directory: string): readonly string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}
