import { StatusError } from "../status.ts";

/** Where a disk is plugged in, in Kata's words. */
export type Disk =
  /** A PCI device behind a bridge of the first bus: the bridge's address and the disk's on the bridge, two hexadecimal digits each. */
  | { readonly driver: "blk"; readonly bridge: string; readonly slot: string }
  | { readonly driver: "scsi"; readonly id: number; readonly lun: number };

export const DISK_DRIVERS: readonly string[] = ["blk", "scsi"] satisfies Disk["driver"][];

const PCI = /^([01][0-9a-f])\/([01][0-9a-f])$/;
const SCSI = /^(\d{1,3}):(\d{1,5})$/;

/** @throws INVALID_ARGUMENT when there is no such driver, or its addresses look otherwise. */
export function parseDisk(driver: string, address: string): Disk {
  const wrong = (wanted: string) =>
    new StatusError("INVALID_ARGUMENT", `Cannot find the ${driver} disk at ${JSON.stringify(address)}: wanted ${wanted}`);
  if (driver === "blk") {
    const [, bridge, slot] = PCI.exec(address.toLowerCase()) ?? [];
    if (bridge === undefined || slot === undefined) throw wrong('a bridge and a slot on it such as "10/05"');
    return { driver, bridge, slot };
  }
  if (driver === "scsi") {
    const [, id, lun] = SCSI.exec(address) ?? [];
    if (id === undefined || lun === undefined) throw wrong('an id and a LUN such as "0:3"');
    return { driver, id: Number(id), lun: Number(lun) };
  }
  throw new StatusError(
    "INVALID_ARGUMENT",
    `Cannot find a disk of the driver ${JSON.stringify(driver)}: wanted ${DISK_DRIVERS.join(" or ")}`,
  );
}

export function addressOf(disk: Disk): string {
  return disk.driver === "blk" ? `${disk.bridge}/${disk.slot}` : `${disk.id}:${disk.lun}`;
}

export function isSameDisk(one: Disk, other: Disk): boolean {
  return one.driver === other.driver && addressOf(one) === addressOf(other);
}
