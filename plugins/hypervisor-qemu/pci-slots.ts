import { isTapvisorError, TapvisorError } from "tapvisor/plugin";
import { HOTPLUG_BUS_ADDRESS } from "./command-line.ts";
import type { Machine } from "./machine.ts";

/** What one conventional PCI bus holds. */
export const PCI_SLOTS = 32;

/**
 * Where QEMU has put a device that was added to the hot-plug bus without an address: `bridge/slot`, two hexadecimal digits each, as Kata's
 * agent takes it. QEMU chooses the slot in the same command that takes it, so two plugs never meet, and a slot is free again only when the
 * device is gone for good, however long the guest took.
 */
export async function pciAddress(machine: Machine, device: string, signal: AbortSignal): Promise<string> {
  const devfn = await machine.execute("qom-get", { path: `/machine/peripheral/${device}`, property: "addr" }, { signal });
  return `${twoDigits(HOTPLUG_BUS_ADDRESS)}/${twoDigits(Number(devfn) >> 3)}`;
}

/** VM_LIMIT instead of QEMU's words when the hot-plug bus has no slot for `what`; any other error as it is. */
export function tellFullBus(error: unknown, what: string): unknown {
  if (!isTapvisorError(error) || !/no slot\/function available/.test(error.message)) return error;
  return new TapvisorError("VM_LIMIT", `Cannot plug ${what}: the VM has ${PCI_SLOTS} slots and all are taken, wanted a free one`, {
    data: { what: "devices", wanted: PCI_SLOTS + 1, available: PCI_SLOTS },
    cause: error,
    hint: "remove a container or a device from this sandbox, or use another sandbox",
  });
}

function twoDigits(value: number): string {
  return value.toString(16).padStart(2, "0");
}
