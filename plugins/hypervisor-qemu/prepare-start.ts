import type { FileHandle } from "node:fs/promises";
import { TapvisorError, type VmIntent } from "tapvisor/plugin";
import { copyMemory, openMemoryFile, openState } from "./memory-file.ts";
import { type MemoryDevice, sizeLimits } from "./size-limits.ts";
import { readSnapshot, type StartPlugged } from "./snapshot.ts";
import { savedState, templateFile } from "./vm-memory.ts";

/** What a VM needs to go on from a saved one; disposing closes the file of its state, which QEMU has inherited by then. */
export interface StartFrom extends AsyncDisposable {
  /** Absent for a VM that boots. */
  readonly state?: FileHandle;
  readonly plugged: StartPlugged;
}

const NOTHING: StartPlugged = { commands: [], disks: [] };

/**
 * Looks at what the VM goes on from, and makes the copy of the template's memory where it is to have one: the last step, so that nothing is left when another fails.
 *
 * @throws INVALID_INPUT, STATE_IO, VM_FAILED for a file that cannot be used, ABORTED.
 */
export async function prepareStart(intent: VmIntent, memoryDevice: MemoryDevice, signal: AbortSignal): Promise<StartFrom> {
  const { memory } = intent;
  if (intent.plugged && memory?.kind !== "snapshot") throw notFromSnapshot(intent);
  const path = savedState(memory);
  const state = path === undefined ? undefined : await openState(path);
  try {
    const plugged = memory?.kind === "snapshot" && state ? await readSnapshot(intent, memoryDevice, state) : NOTHING;
    await prepareMemory(intent, memoryDevice, signal);
    return { ...(state && { state }), plugged, [Symbol.asyncDispose]: async () => state?.close() };
  } catch (error) {
    await state?.close();
    throw error;
  }
}

async function prepareMemory(intent: VmIntent, memoryDevice: MemoryDevice, signal: AbortSignal): Promise<void> {
  const { memory } = intent;
  const template = templateFile(memory);
  if (template === undefined) return;
  await using file = await openMemoryFile(template, sizeLimits(intent, memoryDevice).boot.memoryBytes);
  if (memory?.kind === "copy") await copyMemory(file, memory.copy, signal);
}

function notFromSnapshot({ sandbox }: VmIntent): TapvisorError {
  const what = "what is plugged into a VM that goes on from no snapshot";
  return new TapvisorError("UNSUPPORTED", `Cannot start the VM of sandbox "${sandbox}" with ${what}`, { data: { what, by: "qemu" } });
}
