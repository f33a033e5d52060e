import type { DiskIntent, VmGrant } from "tapvisor/plugin";

/** A raw SCSI disk `data`, index 0, that may be written. */
export function diskIntent(path: string, amend: Partial<DiskIntent> = {}): DiskIntent {
  const vm = amend.vm ?? ({ sandbox: "test", process: null } as VmGrant);
  return { sandbox: "test", vm, id: "data", path, format: "raw", readonly: false, driver: "virtio-scsi", index: 0, ...amend };
}
