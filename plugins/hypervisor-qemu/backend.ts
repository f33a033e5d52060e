import { setTimeout as delay } from "node:timers/promises";
import { type PlannedCommand, toError, withDeadline } from "tapvisor/plugin";
import type { Machine } from "./machine.ts";

/** How long QEMU gets to free what is behind a device that has gone, ms; 50 is usual where the device's end was not told. */
const FREED_MS = 5_000;
/** Between two tries, ms: nothing announces it. */
const FREED_EVERY_MS = 5;

/** QEMU's words for a backend that is not there; they have no class of their own. */
const ABSENT = /: (Failed to find node with node-name=.*|Chardev '.*' not found|Device '.*' not found)$/;
/** QEMU's words for one that a deleted device still holds: it is freed when QEMU's other threads have moved on. */
const IN_USE = /: (Node .* is in use|Chardev '.*' is busy)$/;

/**
 * Removes what is behind a device (a block node, a character device, a network backend) as soon as the device has let go of it. Nothing
 * there is success.
 *
 * @throws TIMEOUT when something in the VM holds it for 5 s more, VM_COMMAND_FAILED, ABORTED.
 */
export async function removeBackend(machine: Machine, remove: PlannedCommand, what: string, signal: AbortSignal): Promise<void> {
  await withDeadline({ what: `QEMU to free what is behind ${what}`, timeoutMs: FREED_MS, signal }, async (inner) => {
    while (!(await isRemoved(machine, remove, inner))) await delay(FREED_EVERY_MS, undefined, { signal: inner });
  });
}

async function isRemoved(machine: Machine, { command, arguments: args }: PlannedCommand, signal: AbortSignal): Promise<boolean> {
  try {
    await machine.execute(command, args, { signal });
    return true;
  } catch (error) {
    const { message } = toError(error);
    if (ABSENT.test(message)) return true;
    if (IN_USE.test(message)) return false;
    throw error;
  }
}
