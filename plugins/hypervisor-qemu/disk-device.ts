import { createHash } from "node:crypto";
import { type Call, checkId, type DiskIntent, type GuestDisk, isTapvisorError, type PlannedCommand } from "tapvisor/plugin";
import { badDevice } from "./bad-device.ts";
import { HOTPLUG_BUS } from "./command-line.ts";
import { deviceStep, performSteps, type Step, undoSteps } from "./device-steps.ts";
import { checkOpened, type DiskSource } from "./disk-source.ts";
import type { Machine } from "./machine.ts";
import { pciAddress, tellFullBus } from "./pci-slots.ts";

/** The bus of the SCSI controller that every VM boots with. */
const SCSI_BUS = "scsi.0";
const LUNS = 256;
const INDEXES = 256 * LUNS;
/** QEMU's limit for a node's name, and virtio-blk's for a serial number. */
const NODE_NAME_LENGTH = 31;
const BLK_SERIAL_LENGTH = 20;

/** How a disk stands in messages. */
const nameOf = ({ id }: DiskIntent): string => `disk "${id}"`;

/**
 * What plugs a disk in: the block node that reads and writes it, then the device that the guest sees.
 *
 * @throws INVALID_INPUT for what could become another object's name, or names no place on the bus.
 */
export function diskSteps(intent: DiskIntent, kind: DiskSource["kind"]): [node: Step, device: Step] {
  checkDisk(intent);
  const node = nodeOf(intent.id);
  const block: Step = {
    command: { command: "blockdev-add", arguments: { "node-name": node, ...blockOf(intent, kind) } },
    undo: { command: "blockdev-del", arguments: { "node-name": node } },
  };
  return [block, frontend(intent, node)];
}

/**
 * Plugs a disk in and says where the guest finds it. A failure leaves nothing, so far as QEMU still answers.
 *
 * @throws INVALID_INPUT when another VM writes to it or it has been exchanged since it was looked at, VM_LIMIT when the bus is full,
 * VM_COMMAND_FAILED, TIMEOUT, ABORTED.
 */
export async function plugDisk(machine: Machine, intent: DiskIntent, source: DiskSource, call: Call): Promise<GuestDisk> {
  const what = nameOf(intent);
  const [node, device] = diskSteps(intent, source.kind);
  return performSteps(machine, what, call, async (run) => {
    try {
      await run(node);
      await checkOpened(machine.identity.pid, intent.path, source);
      await run(device);
    } catch (error) {
      throw tellFullBus(tellUnusable(error, intent), what);
    }
    if (intent.driver === "virtio-scsi") return { driver: "scsi", address: `${scsiId(intent)}:${lun(intent)}` };
    return { driver: "blk", address: await pciAddress(machine, deviceOf(intent.id), call.signal) };
  });
}

/** Takes a disk out, from the intent alone: QEMU says what there is. @throws TIMEOUT, DEVICE_IN_USE, VM_COMMAND_FAILED, ABORTED. */
export async function unplugDisk(machine: Machine, intent: DiskIntent, signal: AbortSignal): Promise<void> {
  await undoSteps(machine, nameOf(intent), diskSteps(intent, "file"), signal); // whichever it was, its node goes by its name
}

/**
 * The host's page cache is used and a guest's flush reaches the disk, as QEMU does by default; what the guest trims is freed on the host.
 * Whoever else would write to it is refused by QEMU's locks, here and in other VMs. A backing file is never opened, whatever the image says.
 */
function blockOf({ path, format, readonly }: DiskIntent, kind: DiskSource["kind"]): PlannedCommand["arguments"] {
  const both = { "read-only": readonly, discard: "unmap" };
  const file = { driver: kind, filename: path, locking: "on", ...both };
  return { driver: format, ...both, ...(format === "qcow2" ? { backing: null } : {}), file };
}

function frontend(intent: DiskIntent, drive: string): Step {
  const { id, driver } = intent;
  if (driver === "virtio-scsi") {
    return deviceStep(deviceOf(id), "scsi-hd", { bus: SCSI_BUS, "scsi-id": scsiId(intent), lun: lun(intent), drive, serial: id });
  }
  return deviceStep(deviceOf(id), "virtio-blk-pci", { bus: HOTPLUG_BUS, drive, serial: id.slice(0, BLK_SERIAL_LENGTH) });
}

const scsiId = ({ index }: DiskIntent): number => Math.floor(index / LUNS);
const lun = ({ index }: DiskIntent): number => index % LUNS;
const deviceOf = (id: string): string => `disk-${id}`;

/** An id may be as long as a node's name, which needs a prefix of its own beside it. */
function nodeOf(id: string): string {
  const name = `disk-${id}`;
  if (name.length <= NODE_NAME_LENGTH) return name;
  return `disk-${createHash("sha256").update(id).digest("hex")}`.slice(0, NODE_NAME_LENGTH);
}

/** @throws INVALID_INPUT naming the field. The file is not looked at. */
export function checkDisk({ id, path, format, driver, index }: DiskIntent): void {
  checkId("disk.id", id);
  if (!path.startsWith("/") || path.includes("\0")) throw badDevice("disk.path", path, "an absolute path");
  if (format !== "raw" && format !== "qcow2") throw badDevice("disk.format", format, '"raw" or "qcow2"');
  if (driver !== "virtio-scsi" && driver !== "virtio-blk") throw badDevice("disk.driver", driver, '"virtio-scsi" or "virtio-blk"');
  if (Number.isInteger(index) && index >= 0 && index < INDEXES) return;
  throw badDevice("disk.index", index, `a whole number from 0 to ${INDEXES - 1}`);
}

/** INVALID_INPUT instead of QEMU's words when the disk itself is why it was refused; any other error as it is. */
function tellUnusable(error: unknown, { path, readonly }: DiskIntent): unknown {
  const said = isTapvisorError(error) && error.code === "VM_COMMAND_FAILED" ? error.message : "";
  if (/device is not writable/.test(said)) return badDevice("disk.path", path, "a disk that can be written", "it is read-only", error);
  if (!/Failed to get .*lock/.test(said)) return error;
  return badDevice("disk.path", path, `a disk that nobody else ${readonly ? "writes to" : "uses"}`, "another program or VM has it", error);
}
