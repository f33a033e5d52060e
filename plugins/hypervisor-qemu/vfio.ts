import { checkId } from "tapvisor/plugin";
import { badDevice } from "./bad-device.ts";
import { HOTPLUG_BUS } from "./command-line.ts";
import { deviceStep, type Step } from "./device-steps.ts";

/** A device of the host that the guest gets to itself: a PCI function by its address, or a mediated device by its directory in sysfs. */
export type VfioDevice = { readonly host: string } | { readonly sysfsdev: string };

/** An IOMMU group: its devices reach each other's memory, so the guest gets all of them or none. */
export interface VfioGroup {
  readonly id: string;
  readonly devices: readonly VfioDevice[];
}

const PCI_ADDRESS = /^[0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]$/;
const MEDIATED = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/**
 * What an entry of `/sys/kernel/iommu_groups/<n>/devices` is: its name, and where its link leads, made absolute.
 *
 * @throws INVALID_INPUT naming `vfio.device` when it is neither a PCI function nor a mediated device.
 */
export function vfioDevice(name: string, directory: string): VfioDevice {
  if (PCI_ADDRESS.test(name)) return { host: name };
  if (MEDIATED.test(name)) return { sysfsdev: directory };
  throw badDevice("vfio.device", name, 'a PCI address such as "0000:01:00.0" or the UUID of a mediated device');
}

/**
 * What plugs a whole IOMMU group in, one device after another.
 *
 * @throws INVALID_INPUT naming `vfio.id`, `vfio.devices` or the device.
 */
export function vfioSteps({ id, devices }: VfioGroup): Step[] {
  checkId("vfio.id", id);
  const sources = devices.map((device, index) => check(`vfio.devices[${index}]`, device));
  const names = new Set(sources.map((source) => Object.values(source)[0]));
  if (devices.length === 0 || names.size < devices.length)
    throw badDevice("vfio.devices", devices, "at least one device, and each of them once");
  return sources.map((source, index) => deviceStep(`vfio-${id}-${index}`, "vfio-pci", { bus: HOTPLUG_BUS, ...source }));
}

function check(path: string, device: VfioDevice): { host: string } | { sysfsdev: string } {
  if ("host" in device) {
    if (!PCI_ADDRESS.test(device.host)) throw badDevice(`${path}.host`, device.host, 'a PCI address such as "0000:01:00.0"');
    return { host: device.host };
  }
  const { sysfsdev } = device;
  const [uuid = ""] = sysfsdev.split("/").slice(-1);
  const isBelowSys = sysfsdev.startsWith("/sys/") && !sysfsdev.split("/").includes("..") && !sysfsdev.includes("\0");
  if (!isBelowSys || !MEDIATED.test(uuid)) throw badDevice(`${path}.sysfsdev`, sysfsdev, "a mediated device's directory below /sys");
  return { sysfsdev };
}
