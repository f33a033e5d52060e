import type { Call, DiskGrant, DiskIntent, Held, HoldingKind } from "tapvisor/plugin";
import { checkDisk, plugDisk, unplugDisk } from "./disk-device.ts";
import { checkDiskSource } from "./disk-source.ts";
import { inLiveVm } from "./in-live-vm.ts";
import { leaseMachine } from "./machines.ts";
import { userOf } from "./size-limits.ts";
import { checkReachable } from "./user.ts";

/** Disk images and block devices of the host in the guest, plugged into the running VM. */
export const diskHolding: HoldingKind<DiskIntent, DiskGrant> = { acquire, release };

async function acquire(intent: DiskIntent, call: Call): Promise<DiskGrant> {
  checkDisk(intent);
  const source = await checkDiskSource(intent);
  const user = userOf(intent.vm);
  const access = intent.readonly ? "read" : "read and write";
  if (user) await checkReachable(user, [{ field: "disk.path", path: intent.path, access }], call);
  await using lease = await leaseMachine(intent.vm);
  return { id: intent.id, guest: await plugDisk(lease.machine, intent, source, call) };
}

async function release({ intent }: Held<DiskIntent, DiskGrant>, { signal }: Call): Promise<void> {
  if (!isPossible(intent)) return; // so it never was
  await inLiveVm(intent.vm, (machine) => unplugDisk(machine, intent, signal));
}

function isPossible(intent: DiskIntent): boolean {
  try {
    checkDisk(intent);
    return true;
  } catch {
    return false;
  }
}
