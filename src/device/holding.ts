import { TapvisorError } from "../base/errors.ts";
import type { HoldingKind } from "../contracts/holding.ts";
import type { SandboxContext } from "../engine/context.ts";
import { attachDevice, type DeviceInfo, detachDevice, newDevice, removeDevice } from "./manager.ts";

export interface DeviceIntent {
  readonly device: DeviceInfo;
  /** A container's id, or `SANDBOX`. */
  readonly holder: string;
}

export interface DeviceGrant {
  readonly id: string;
  readonly index: number;
  /** Nobody had it attached before: it is to be plugged in. */
  readonly first: boolean;
}

/** A holder's reference to a device, with its attachment: entries of the sandbox's table, which goes to the store with the record. */
export function deviceHolding(self: () => SandboxContext): HoldingKind<DeviceIntent, DeviceGrant> {
  return {
    inProcess: true, // the table and the holding are written together
    async acquire({ device, holder }) {
      const { devices } = self().journal.record;
      const { id, index } = newDevice(devices, device, holder);
      return { id, index, first: attachDevice(devices, id, holder).first };
    },
    async release({ intent: { device, holder } }) {
      const { devices, holdings } = self().journal.record;
      const known = Object.values(devices).find(({ identity }) => identity === device.identity);
      // Until its unplug is confirmed it keeps its place, and its drive index is nobody else's.
      if (known?.attachments.length === 1 && holdings.some(({ kind, intent }) => kind === "disk" && idIn(intent) === known.id)) {
        throw new TapvisorError("DEVICE_ATTACHED", `Cannot forget device "${known.id}": it is still plugged in`, {
          data: { id: known.id, holders: known.attachments },
        });
      }
      if (known?.attachments.includes(holder)) detachDevice(devices, known.id, holder);
      if (known?.references.includes(holder)) removeDevice(devices, known.id, holder);
    },
  };
}

/** The device that a holding of a disk is about. */
export function idIn(intent: unknown): string | undefined {
  return (intent as { readonly id?: string } | null)?.id;
}
