import type { BootAssets } from "../contracts/guest.ts";
import type { VmSize } from "../contracts/hypervisor.ts";
import type { SandboxRecord } from "../engine/record.ts";

/** A VM that was saved whole, and what the engine knew of its sandbox by then. */
export interface Snapshot {
  readonly record: SandboxRecord;
  /** What the guest had booted from: what goes on from it needs the same. */
  readonly boot: BootAssets;
  /** What was plugged in, what it booted with included. */
  readonly size: VmSize;
  readonly disks: readonly SavedDisk[];
  /** The VM with its memory. */
  readonly state: string;
}

/** A disk of a saved VM. */
export interface SavedDisk {
  /** What it is called in the record. */
  readonly path: string;
  readonly readonly: boolean;
  /** Its copy; absent for one that nobody writes to and that is the user's own: it is used where it is. */
  readonly copy?: string;
}
