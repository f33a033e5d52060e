import type { GuestDevice, OciSpec } from "tapvisor/plugin";
import type { DeviceMessage } from "tapvisor/protocol";

/** No block device has this major number: together with a minor number of its own it stands for a device until the agent knows its real ones. */
const STAND_IN_MAJOR = 0;

export function deviceMessages(devices: readonly GuestDevice[]): readonly DeviceMessage[] {
  return devices.map(({ disk, containerPath }) => ({
    id: disk.address,
    type: disk.driver,
    vm_path: "",
    container_path: containerPath,
    options: [],
  }));
}

/**
 * The configuration with a node and a rule for each device. A Kata agent wants both: it finds the node by its path, and by the numbers of that the rules,
 * and puts the guest's numbers into all of them.
 */
export function withDevices(spec: OciSpec, devices: readonly GuestDevice[]): OciSpec {
  if (devices.length === 0) return spec;
  const { linux } = spec;
  const nodes = devices.map(({ containerPath }, index) => ({ path: containerPath, type: "b" as const, ...standIn(index) }));
  const rules = devices.map(({ permissions }, index) => ({ allow: true, access: permissions, type: "b", ...standIn(index) }));
  return {
    ...spec,
    linux: {
      ...linux,
      devices: [...(linux.devices ?? []), ...nodes],
      resources: { ...linux.resources, devices: [...(linux.resources?.devices ?? []), ...rules] },
    },
  };
}

function standIn(index: number): { readonly major: number; readonly minor: number } {
  return { major: STAND_IN_MAJOR, minor: index + 1 };
}
