import { setTimeout as delay } from "node:timers/promises";
import { isTapvisorError, TapvisorError, withDeadline } from "tapvisor/plugin";
import type { Machine } from "./machine.ts";
import type { QmpEvent, QmpOptions } from "./qmp.ts";
import { objectOf } from "./qmp-messages.ts";

/** How long a device's end may take, ms: the guest's consent 50 or so, and as long for QEMU to be sure that none of its threads uses it. */
const UNPLUG_MS = 5_000;
/** Between two looks at QEMU's tree, ms: the event is lost when the control connection is made anew, and not every device has one. */
const LOOK_EVERY_MS = 250;

/** ACPI's words in a guest's answer to an eject request. */
const EJECT_REQUEST = 3;
const SUCCESS = 0;
const EJECT_IN_PROGRESS = 0x84;

export interface Unplug {
  /** The device's id in QEMU. */
  readonly id: string;
  /** As it stands in errors: `share "web"`. */
  readonly what: string;
  readonly signal: AbortSignal;
  /** 5 s by default. */
  readonly timeoutMs?: number;
}

/**
 * Takes a device out of the VM and resolves when QEMU has told that it is gone for good, or has it no more. What is not there is success,
 * and what an earlier call asked for is waited for.
 *
 * @throws TIMEOUT when the guest does not let go of it in time (it is paused, hangs, or has no driver for this), DEVICE_IN_USE when the
 * guest refuses, ABORTED, VM_COMMAND_FAILED.
 */
export async function unplugDevice(machine: Machine, { id, what, signal, timeoutMs = UNPLUG_MS }: Unplug): Promise<void> {
  await withDeadline({ what: `the guest to let go of ${what}`, timeoutMs, signal }, async (inner) => {
    if (!(await isPlugged(machine, id, inner))) return;
    const over = new AbortController();
    const waiting = AbortSignal.any([inner, over.signal]);
    try {
      const verdict = listen(machine, id, what, { signal: waiting, timeoutMs });
      await askToLetGo(machine, id, inner);
      do {
        const event = await Promise.race([verdict, delay(LOOK_EVERY_MS, undefined, { signal: waiting })]);
        const reason = event && refusalIn(id, event);
        if (reason !== undefined) throw inUse(id, what, reason);
      } while (await isPlugged(machine, id, inner));
    } finally {
      over.abort();
    }
  });
}

/** Resolves with what QEMU tells of the device's end, or of the guest's refusal; never when the connection is lost. */
async function listen(machine: Machine, id: string, what: string, options: QmpOptions): Promise<QmpEvent> {
  try {
    const qmp = await machine.connect();
    // The parts of a device go before it, and are told of by their paths alone.
    const isAbout = (event: QmpEvent) =>
      (event.event === "DEVICE_DELETED" && event.data.device === id) || refusalIn(id, event) !== undefined;
    return await qmp.waitForEvent(`the end of ${what}`, isAbout, options);
  } catch {
    return new Promise(() => {});
  }
}

/** Why the guest keeps a device, when the event says that it does. */
export function refusalIn(id: string, { event, data }: QmpEvent): string | undefined {
  if (event === "DEVICE_UNPLUG_GUEST_ERROR" && data.device === id) return "the guest reports an error";
  const info = objectOf(data.info);
  if (event !== "ACPI_DEVICE_OST" || info.device !== id || info.source !== EJECT_REQUEST) return undefined;
  return info.status === SUCCESS || info.status === EJECT_IN_PROGRESS ? undefined : `the guest's ACPI status is ${String(info.status)}`;
}

/** An earlier call may have asked already; the device may have gone since we looked. */
async function askToLetGo(machine: Machine, id: string, signal: AbortSignal): Promise<void> {
  await machine.execute("device_del", { id }, { signal }).catch((error: unknown) => {
    if (!isTapvisorError(error) || error.code !== "VM_COMMAND_FAILED") throw error;
    if (error.data.class !== "DeviceNotFound" && !/already in the process of unplug/.test(error.message)) throw error;
  });
}

async function isPlugged(machine: Machine, id: string, signal: AbortSignal): Promise<boolean> {
  const devices = (await machine.execute("qom-list", { path: "/machine/peripheral" }, { signal })) as readonly { readonly name: string }[];
  return devices.some(({ name }) => name === id);
}

function inUse(id: string, what: string, reason: string): TapvisorError {
  return new TapvisorError("DEVICE_IN_USE", `Cannot unplug ${what}: ${reason}, wanted it to let go of the device`, {
    data: { id, reason },
    hint: "end what uses it in the guest, then try again",
  });
}
