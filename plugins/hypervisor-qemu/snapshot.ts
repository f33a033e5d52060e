import type { FileHandle } from "node:fs/promises";
import { type DiskIntent, MiB, type PlannedCommand, TapvisorError, type VmGrant, type VmIntent } from "tapvisor/plugin";
import { checkDiskSource, type DiskSource } from "./disk-source.ts";
import type { Machine } from "./machine.ts";
import { migrateOut } from "./migration.ts";
import { describeMachine, pluggedCommands } from "./plugged.ts";
import { querySize } from "./query-size.ts";
import { type SizeLimits, sizeLimits } from "./size-limits.ts";
import { encodeHeader, readHeader } from "./snapshot-header.ts";
import { createStateFile } from "./state-file.ts";

/** What a state has beside the memory, at most: the devices, and some bytes for each page. */
const BESIDE_MEMORY_BYTES = 64 * MiB;
/** A bound for what the caller's signal ends earlier, ms: a day. */
const WITHOUT_END_MS = 24 * 3600 * 1000;

/**
 * Stops the guest and writes all of it to a new file: where things are plugged in, then what QEMU sends. When this fails there is no new file, and the guest
 * runs again if it ran.
 *
 * @throws UNSUPPORTED naming a device that cannot be carried, before anything has happened; VM_COMMAND_FAILED, STATE_IO, ABORTED.
 */
export async function snapshotVm(machine: Machine, grant: VmGrant, path: string, signal: AbortSignal): Promise<void> {
  const sizes = grant.details as SizeLimits | undefined;
  if (!sizes)
    throw new TapvisorError("UNSUPPORTED", "Cannot save this VM whole: it was started by an earlier version", {
      data: { what: "snapshot" },
    });
  await machine.resizing.run(async () => {
    const saved = await describeMachine(machine, grant, sizes, signal);
    const { memoryBytes } = await querySize(machine, signal);
    await using file = await createStateFile(path, encodeHeader(saved));
    const mostBytes = memoryBytes + BESIDE_MEMORY_BYTES;
    await migrateOut(machine, { memory: "all", file, mostBytes, timeoutMs: WITHOUT_END_MS }, signal);
  }, signal);
}

/** A disk that a VM has from its start on. */
export interface StartDisk {
  readonly intent: DiskIntent;
  readonly source: DiskSource;
}

export interface StartPlugged {
  readonly commands: readonly PlannedCommand[];
  readonly disks: readonly StartDisk[];
}

/**
 * What a VM that goes on from a snapshot has from its start on. Leaves the file where QEMU's part begins.
 *
 * @throws VM_FAILED when the file is no snapshot, INVALID_INPUT when the machine is another one or a disk cannot be used.
 */
export async function readSnapshot(intent: VmIntent, memoryDevice: SizeLimits["memoryDevice"], state: FileHandle): Promise<StartPlugged> {
  const saved = await readHeader(state);
  if (!saved) throw noSnapshot(intent);
  const disks: StartDisk[] = [];
  for (const disk of intent.plugged?.disks ?? []) {
    const whole: DiskIntent = { ...disk, vm: futureGrant(intent) };
    disks.push({ intent: whole, source: await checkDiskSource(whole) });
  }
  const kinds = disks.map(({ intent: disk, source: { kind } }) => ({ intent: disk, kind }));
  return { commands: pluggedCommands(intent, sizeLimits(intent, memoryDevice), saved, kinds), disks };
}

/** A disk's intent names its VM, which is about to be started. */
export function futureGrant({ sandbox, nonce, runDirectory }: VmIntent): VmGrant {
  return { sandbox, nonce, runDirectory, process: null, accelerator: "", agentEndpoint: { kind: "memory", sandbox } };
}

function noSnapshot({ sandbox, memory }: VmIntent): TapvisorError {
  const file = memory?.kind === "snapshot" ? memory.state : "";
  return new TapvisorError("VM_FAILED", `Cannot start the VM of sandbox "${sandbox}": "${file}" is no snapshot, or is damaged`, {
    data: { id: sandbox },
  });
}
