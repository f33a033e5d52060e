import { randomBytes } from "node:crypto";
import { TapvisorError } from "../base/errors.ts";
import type { DiskDriver } from "../contracts/hypervisor.ts";

/** What a device is, whatever it is called: two paths of one device have one identity. */
export interface DeviceInfo {
  /** `b:<major>:<minor>` of a block device, `f:<device>:<inode>` of an image file. */
  readonly identity: string;
  /** Absolute. */
  readonly path: string;
  readonly format: "raw" | "qcow2";
  readonly readonly: boolean;
  readonly driver: DiskDriver;
}

/** A device of a sandbox, as its record keeps it. */
export interface DeviceRecord extends DeviceInfo {
  readonly id: string;
  /** The drive's number in its VM: the lowest that was free. */
  readonly index: number;
  /** Who refers to it, once for each reference: containers by id, the sandbox itself as `SANDBOX`. */
  readonly references: readonly string[];
  /** By whom it is attached; plugged in as long as there is one. */
  readonly attachments: readonly string[];
}

export type Devices = Record<string, DeviceRecord>;

/** The sandbox among the holders of a device; no container's id can be this. */
export const SANDBOX = "-";

const ID_TRIES = 5;

/**
 * Refers to a device: the one there is of this identity, or a new one with the lowest free drive index.
 * @throws INVALID_INPUT when there is one that is plugged in otherwise than asked for, DEVICE_IDS_EXHAUSTED.
 */
export function newDevice(devices: Devices, info: DeviceInfo, holder: string): DeviceRecord {
  const known = Object.values(devices).find(({ identity }) => identity === info.identity);
  if (known) checkSame(known, info);
  const device = known ?? { ...info, id: freeId(devices), index: freeIndex(devices), references: [], attachments: [] };
  return put(devices, { ...device, references: [...device.references, holder] });
}

/** Notes that a holder has it attached; `first` when nobody had: then it is to be plugged in. @throws DEVICE_NOT_FOUND. */
export function attachDevice(devices: Devices, id: string, holder: string): { readonly device: DeviceRecord; readonly first: boolean } {
  const device = deviceOf(devices, id);
  const first = device.attachments.length === 0;
  return { device: put(devices, { ...device, attachments: [...device.attachments, holder] }), first };
}

/** Notes that a holder has it attached once less; `last` when nobody has any more: then it can be unplugged. @throws DEVICE_NOT_FOUND, DEVICE_NOT_ATTACHED. */
export function detachDevice(devices: Devices, id: string, holder: string): { readonly device: DeviceRecord; readonly last: boolean } {
  const device = deviceOf(devices, id);
  if (!device.attachments.includes(holder)) {
    throw new TapvisorError("DEVICE_NOT_ATTACHED", `Cannot detach device "${id}": ${nameOf(holder)} has not attached it`, { data: { id } });
  }
  const attachments = withoutOne(device.attachments, holder);
  return { device: put(devices, { ...device, attachments }), last: attachments.length === 0 };
}

/** Gives a reference up; the device is forgotten with the last one. @throws DEVICE_NOT_FOUND; DEVICE_ATTACHED, and the reference stays, when it is the last and it is attached. */
export function removeDevice(devices: Devices, id: string, holder: string): void {
  const device = deviceOf(devices, id);
  if (!device.references.includes(holder)) throw notFound(devices, id);
  const references = withoutOne(device.references, holder);
  if (references.length > 0) {
    put(devices, { ...device, references });
    return;
  }
  if (device.attachments.length > 0) {
    throw new TapvisorError(
      "DEVICE_ATTACHED",
      `Cannot remove device "${id}": ${device.attachments.map(nameOf).join(", ")} has it attached`,
      {
        data: { id, holders: device.attachments },
      },
    );
  }
  delete devices[id];
}

/** @throws DEVICE_NOT_FOUND listing those there are. */
export function deviceOf(devices: Devices, id: string): DeviceRecord {
  const device = Object.hasOwn(devices, id) ? devices[id] : undefined;
  if (device) return device;
  throw notFound(devices, id);
}

/** How a holder is called in a text. */
export function nameOf(holder: string): string {
  return holder === SANDBOX ? "the sandbox" : `container "${holder}"`;
}

function put(devices: Devices, device: DeviceRecord): DeviceRecord {
  devices[device.id] = device;
  return device;
}

function freeId(devices: Devices): string {
  for (let tries = 0; tries < ID_TRIES; tries++) {
    const id = `disk-${randomBytes(8).toString("hex")}`;
    if (!Object.hasOwn(devices, id)) return id;
  }
  throw new TapvisorError("DEVICE_IDS_EXHAUSTED", `Cannot name a new device: ${ID_TRIES} random ids were taken`, {
    data: { tries: ID_TRIES },
  });
}

/** A device stays in the table until its unplug is confirmed, so its index is free only then. */
function freeIndex(devices: Devices): number {
  const taken = new Set(Object.values(devices).map(({ index }) => index));
  for (let index = 0; ; index++) if (!taken.has(index)) return index;
}

function checkSame(known: DeviceRecord, asked: DeviceInfo): void {
  const refuse = (path: string, value: unknown, wanted: unknown) =>
    new TapvisorError(
      "INVALID_INPUT",
      `Cannot use ${asked.path} with ${path} ${String(value)}: it is plugged in already with ${String(wanted)}`,
      {
        data: { path, value, wanted: String(wanted) },
        hint: "use it in the same way, or remove it from those that have it first",
      },
    );
  if (known.readonly && !asked.readonly) throw refuse("readonly", asked.readonly, known.readonly);
  if (known.format !== asked.format) throw refuse("format", asked.format, known.format);
}

function withoutOne(all: readonly string[], one: string): string[] {
  return all.toSpliced(all.indexOf(one), 1);
}

function notFound(devices: Devices, id: string): TapvisorError {
  const known = Object.keys(devices);
  return new TapvisorError("DEVICE_NOT_FOUND", `Cannot find device "${id}": there is ${known.join(", ") || "none"}`, {
    data: { id, known },
  });
}
