import { MiB, TapvisorError, type VmGrant, withDeadline } from "tapvisor/plugin";
import type { Machine } from "./machine.ts";
import { migrateOut } from "./migration.ts";
import { pluggedDevices } from "./plugged.ts";
import { querySize } from "./query-size.ts";
import type { VmDetails } from "./size-limits.ts";
import { createStateFile } from "./state-file.ts";

/** 20 ms is usual. */
const SAVE_MS = 30_000;
/** The state of the devices is 0.4 MiB. */
const MOST_STATE_BYTES = 64 * MiB;

/**
 * Stops the guest and writes the state of its devices to a new file; its memory is in the template's own. When this fails there is no new file, and the guest
 * runs again.
 *
 * @throws INVALID_STATE when its memory is no template's, or something has been plugged in: memory that has grown is in no file. VM_COMMAND_FAILED with QEMU's
 * reason, STATE_IO when the file cannot be written, TIMEOUT after 30 s, ABORTED.
 */
export async function saveTemplate(machine: Machine, grant: VmGrant, path: string, signal: AbortSignal): Promise<void> {
  const details = grant.details as VmDetails | undefined;
  if (details?.memory !== "template") throw notSaved(grant, "its memory is in no template's file");
  await withDeadline({ what: "QEMU to save its state", timeoutMs: SAVE_MS, signal }, async (inner) => {
    const [size, [plugged]] = await Promise.all([querySize(machine, inner), pluggedDevices(machine, inner)]);
    const { boot } = details;
    const grown = size.vcpus !== boot.vcpus || size.memoryBytes !== boot.memoryBytes;
    if (plugged || grown) throw notSaved(grant, plugged ? `"${plugged.name}" has been plugged into it` : "it has grown");
    await using file = await createStateFile(path);
    await migrateOut(machine, { memory: "none", file, mostBytes: MOST_STATE_BYTES, timeoutMs: SAVE_MS }, inner);
  });
}

function notSaved({ sandbox }: VmGrant, why: string): TapvisorError {
  return new TapvisorError("INVALID_STATE", `Cannot save the VM of sandbox "${sandbox}": ${why}`, {
    data: { kind: "sandbox", id: sandbox, state: "running", verb: "save", allowed: [] },
    hint: "start it with memory of the kind `template`, and save it before anything is plugged in",
  });
}
