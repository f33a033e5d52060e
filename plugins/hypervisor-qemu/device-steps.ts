import { type Call, isTapvisorError, type PlannedCommand } from "tapvisor/plugin";
import { removeBackend } from "./backend.ts";
import type { Machine } from "./machine.ts";
import { unplugDevice } from "./unplug-device.ts";

/** A change of a running VM and what takes it back. A device is a few of them: what is behind it first, the device itself last. */
export interface Step {
  readonly command: PlannedCommand;
  readonly undo: PlannedCommand;
}

/** The device that the guest sees. */
export function deviceStep(id: string, driver: string, args: PlannedCommand["arguments"]): Step {
  return {
    command: { command: "device_add", arguments: { driver, id, ...args } },
    undo: { command: "device_del", arguments: { id } },
  };
}

/** How long taking a half-made plug back may last, ms. What is left then is for `release` to find. */
const UNDO_MS = 6_000;

/**
 * All or nothing: `work` runs steps one after another, and when it fails those that may have taken effect are taken back, last one first.
 * A step that QEMU refused has not; one without an answer may have. `what` names the whole in messages: `disk "data"`.
 */
export async function performSteps<T>(
  machine: Machine,
  what: string,
  call: Call,
  work: (run: (step: Step) => Promise<void>) => Promise<T>,
): Promise<T> {
  const begun: Step[] = [];
  const run = async (step: Step) => {
    begun.push(step);
    try {
      await machine.execute(step.command.command, step.command.arguments, { signal: call.signal });
    } catch (error) {
      if (isRefusal(error)) begun.pop();
      throw error;
    }
  };
  try {
    return await work(run);
  } catch (error) {
    const signal = AbortSignal.timeout(UNDO_MS); // the caller's may have fired: it must not stop the undoing
    await undoSteps(machine, what, begun, signal).catch((failed: unknown) => call.log.warn({ err: failed, what }, "left in the VM"));
    throw error;
  }
}

/**
 * Takes steps back, the last one first; those that never happened are success. What one holds on to (a device its disk, say) is in use
 * until it is gone, so the first failure is the end.
 *
 * @throws TIMEOUT, DEVICE_IN_USE, VM_COMMAND_FAILED, ABORTED.
 */
export async function undoSteps(machine: Machine, what: string, steps: readonly Step[], signal: AbortSignal): Promise<void> {
  for (const { undo } of steps.toReversed()) {
    if (undo.command === "device_del") await unplugDevice(machine, { id: String(undo.arguments.id), what, signal });
    else await removeBackend(machine, undo, what, signal);
  }
}

/** Whether QEMU answered a command with an error, and so did nothing. */
export function isRefusal(error: unknown): boolean {
  return isTapvisorError(error) && error.code === "VM_COMMAND_FAILED" && error.data.class !== "Disconnected";
}
