import { mkdir } from "node:fs/promises";
import { basename, join } from "node:path";
import { DEADLINES } from "../config/defaults.ts";
import type { SandboxContext } from "../engine/context.ts";
import { ENGINE } from "../engine/holders.ts";
import type { SandboxRecord } from "../engine/record.ts";
import { type Transaction, transact } from "../engine/transaction.ts";
import { exclusively } from "../sandbox/exclusively.ts";
import { requireSandbox, restoreSandbox } from "../sandbox/state.ts";
import { requireVm } from "../sandbox/vm-grant.ts";
import { copyDisk, linkDisk } from "./copy-disk.ts";
import type { SavedDisk, Snapshot } from "./snapshot.ts";
import type { StandStillIntent } from "./stand-still.ts";
import { refuseUncarried } from "./uncarried.ts";

/** The steps of saving a sandbox's VM whole, in order. */
export const TAKE_SNAPSHOT_STEPS = ["stand-still", "save-vm", "copy-disks"] as const;
export type TakeStep = (typeof TAKE_SNAPSHOT_STEPS)[number];

/** Where to: the directory of the disks is made when there is one to copy. */
export interface SnapshotPlace {
  readonly state: string;
  readonly disks: string;
}

/**
 * Saves the VM with its memory, and copies what it writes to, all as they are at one moment; then the sandbox goes on. Its processes stand still meanwhile.
 * @throws UNSUPPORTED when something of it cannot be carried over, before anything has happened; INVALID_STATE.
 */
export function takeSnapshot(sb: SandboxContext, verb: string, place: SnapshotPlace, signal: AbortSignal | undefined): Promise<Snapshot> {
  return exclusively(sb, signal, async () => {
    requireSandbox(sb, verb, "ready", "running");
    await refuseUncarried(sb, verb);
    const operation = { name: "take snapshot", steps: TAKE_SNAPSHOT_STEPS, sandbox: sb.id, signal };
    return orFailed(sb, () => transact(sb, operation, (tx) => take(sb, tx, place)));
  });
}

/** A sandbox whose processes could not be let go on again has failed. */
export async function orFailed<T>(sb: SandboxContext, work: () => Promise<T>): Promise<T> {
  const before = sb.journal.record.state;
  try {
    return await work();
  } catch (error) {
    await restoreSandbox(sb, before, error);
    throw error;
  }
}

/** The same, among the steps of an operation that has the sandbox to itself. */
export async function take(sb: SandboxContext, tx: Transaction<TakeStep>, { state, disks }: SnapshotPlace): Promise<Snapshot> {
  // As it is before it stands still: what stands still for a moment is no part of it.
  const record = structuredClone(withoutVolatile(sb));
  const { intent, grant } = requireVm(sb);
  const containers = Object.values(record.containers).flatMap((each) => (each.state === "running" ? [each.id] : []));
  const still: StandStillIntent = { vm: grant, containers };
  await tx.acquire("stand-still", { owner: ENGINE, kind: "stand-still" }, still, DEADLINES.agent);
  const size = await tx.run("save-vm", DEADLINES.snapshot, async (signal) => {
    const call = { signal, log: sb.log };
    const vm = await sb.guest.connectVm(grant, call);
    const plugged = (await vm.sizing?.size(call)) ?? { vcpus: intent.vcpus, memoryBytes: intent.memoryBytes };
    await vm.snapshot?.(state, call);
    return plugged;
  });
  const saved = await tx.run("copy-disks", DEADLINES.rootfs, (signal) => copyDisks(sb, record, disks, signal));
  await tx.undo("stand-still");
  return { record, boot: intent.boot, size, disks: saved, state };
}

/** Those that are written to, and those of the engine's own, which go with the sandbox. */
async function copyDisks(sb: SandboxContext, record: SandboxRecord, directory: string, signal: AbortSignal): Promise<SavedDisk[]> {
  const saved: SavedDisk[] = [];
  for (const { id, path, readonly } of Object.values(record.devices)) {
    const own = path.startsWith(`${sb.engine.root}/`);
    if (readonly && !own) {
      saved.push({ path, readonly });
      continue;
    }
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const copy = join(directory, basename(id));
    await (readonly ? linkDisk : copyDisk)(path, copy, signal);
    saved.push({ path, readonly, copy });
  }
  return saved;
}

function withoutVolatile({ journal }: SandboxContext): SandboxRecord {
  return { ...journal.record, holdings: journal.record.holdings.filter((holding) => !journal.volatileOf(holding)) };
}
