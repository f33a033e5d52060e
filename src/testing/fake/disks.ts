import { isAbsolute, normalize } from "node:path/posix";
import { TapvisorError } from "../../base/errors.ts";
import type { GuestDevice } from "../../contracts/agent.ts";
import type { DiskIntent, GuestDisk } from "../../contracts/hypervisor.ts";
import { agentError } from "./agent-error.ts";

/** A disk that is plugged into a VM of the fake world. */
export interface FakeDisk {
  readonly intent: DiskIntent;
  /** Where the guest finds it. */
  readonly guest: GuestDisk;
  /** The size of the image. */
  readonly bytes: number;
}

export type Disks = ReadonlyMap<string, FakeDisk>;

/** As QEMU's: the bridge that disks are plugged into, and how many of them it takes. */
const BRIDGE = "10";
const BRIDGE_SLOTS = 31;

/** LUNs of one SCSI id. */
const LUNS = 256;

/** The disk as it would be plugged in beside `others`. @throws VM_COMMAND_FAILED for a taken id or index, VM_LIMIT when the bridge is full. */
export function pluggedDisk(others: Disks, intent: DiskIntent, bytes: number): FakeDisk {
  const { id, index } = intent;
  if (others.has(id)) throw refused(intent, "there is one of this id");
  const same = [...others.values()].find((each) => each.intent.index === index);
  if (same) throw refused(intent, `disk "${same.intent.id}" has index ${index}`);
  return { intent, guest: addressOf(others, intent), bytes };
}

/** The disk that the guest finds there. */
export function diskAt(disks: Disks, { driver, address }: GuestDisk): FakeDisk | undefined {
  return [...disks.values()].find(({ guest }) => guest.driver === driver && guest.address === address);
}

/** What it is in the guest: the letters go with the place of the address. */
export function nodeOf(disks: Disks, disk: FakeDisk): string {
  const same = [...disks.values()].filter(({ guest }) => guest.driver === disk.guest.driver);
  return `/dev/${disk.guest.driver === "scsi" ? "sd" : "vd"}${String.fromCharCode("a".charCodeAt(0) + same.indexOf(disk))}`;
}

/** Checks that a container can have these disks as nodes. @throws AGENT_FAILED where a real agent would fail to make them. */
export function checkDevices(disks: Disks, devices: readonly GuestDevice[]): void {
  const refuse = (status: string, reason: string) => agentError("CreateContainer", status, reason);
  const paths = new Set<string>();
  for (const { disk, containerPath: path, permissions } of devices) {
    if (!isAbsolute(path) || normalize(path) !== path || paths.has(path)) {
      throw refuse("INVALID_ARGUMENT", `"${path}" is no absolute path that no other device has`);
    }
    paths.add(path);
    if (!/^[rwm]+$/.test(permissions)) throw refuse("INVALID_ARGUMENT", `"${permissions}" are no permissions of ${path}`);
    if (!diskAt(disks, disk)) throw refuse("DEADLINE_EXCEEDED", `no ${disk.driver} disk at ${disk.address} appears for ${path}`);
  }
}

function addressOf(others: Disks, intent: DiskIntent): GuestDisk {
  const { driver, index } = intent;
  if (driver === "virtio-scsi") return { driver: "scsi", address: `${Math.floor(index / LUNS)}:${index % LUNS}` };
  const taken = new Set([...others.values()].map(({ guest }) => guest.address));
  for (let slot = 1; slot <= BRIDGE_SLOTS; slot++) {
    const address = `${BRIDGE}/${slot.toString(16).padStart(2, "0")}`;
    if (!taken.has(address)) return { driver: "blk", address };
  }
  throw new TapvisorError("VM_LIMIT", `Cannot plug disk "${intent.id}": all ${BRIDGE_SLOTS} slots of the bridge are taken`, {
    data: { what: "devices", wanted: BRIDGE_SLOTS + 1, available: BRIDGE_SLOTS },
  });
}

function refused({ id }: DiskIntent, reason: string): TapvisorError {
  return new TapvisorError("VM_COMMAND_FAILED", `Cannot plug disk "${id}": ${reason}`, {
    data: { command: "device_add", class: "GenericError" },
  });
}
