import { mkdir } from "node:fs/promises";
import { basename, join } from "node:path";
import { DEADLINES } from "../config/defaults.ts";
import type { SandboxConfig } from "../config/sandbox-config.ts";
import type { VmGrant } from "../contracts/hypervisor.ts";
import { identifyDevice } from "../device/identify.ts";
import type { EngineContext, SandboxContext } from "../engine/context.ts";
import { ENGINE } from "../engine/holders.ts";
import { Journal } from "../engine/journal.ts";
import { type Transaction, transact } from "../engine/transaction.ts";
import { followContainers } from "../sandbox/adopt.ts";
import { sandboxContext } from "../sandbox/context.ts";
import { launchAndConnect } from "../sandbox/launch.ts";
import { forget, newRecord } from "../sandbox/new-record.ts";
import { runDirectoryOf } from "../sandbox/paths.ts";
import { moveSandbox } from "../sandbox/state.ts";
import { renewIdentity } from "../template/renew.ts";
import { carry, type MovedDisk, type MovedDisks, pluggedIn } from "./carry.ts";
import { copyDisk, linkDisk } from "./copy-disk.ts";
import { ownDisksOf, type SnapshotFilesIntent } from "./files.ts";
import type { Snapshot } from "./snapshot.ts";
import { unlessEnded } from "./stand-still.ts";

/** The steps of a sandbox that goes on from a saved VM, in order; the first of all of them only where the VM is saved for it. */
export const RESTORE_STEPS = [
  "record",
  "make-snapshot-files",
  "take-snapshot",
  "make-run-directory",
  "place-disks",
  "launch-vm",
  "connect-agent",
  "renew-identity",
  "carry-over",
  "let-go-on",
  "commit",
] as const;
/** The step that what was carried over is said to have been acquired in. */
const CARRIED_STEP: RestoreStep = "carry-over";
type RestoreStep = (typeof RESTORE_STEPS)[number];

export interface RestoreRequest {
  readonly config: SandboxConfig;
  /** The snapshot, when there is one; otherwise it is taken into a directory that goes with it. */
  readonly from: Snapshot | { readonly directory: string; take(signal: AbortSignal): Promise<Snapshot> };
}

/**
 * Makes a sandbox that goes on where a saved one was, with its containers and their processes: the processes run when the guest is a machine of its own. A
 * failure leaves nothing.
 */
export async function restoreSandbox(
  engine: EngineContext,
  { config: asked, from }: RestoreRequest,
  signal: AbortSignal | undefined,
): Promise<SandboxContext> {
  const { id } = asked;
  const amended = await engine.hooks.amend("beforeCreate", { sandbox: id, config: { id, annotations: asked.annotations } });
  const config = { ...asked, annotations: (amended.config.annotations ?? {}) as SandboxConfig["annotations"] };
  const sb = sandboxContext(engine, Journal.draft(engine.store, await newRecord(engine, config)));
  try {
    await transact(sb, { name: "restore sandbox", steps: RESTORE_STEPS, sandbox: id, signal }, async (tx) => {
      try {
        await restore(sb, tx, from);
      } catch (error) {
        dropCarried(sb);
        throw error;
      }
    });
    return sb;
  } catch (error) {
    await forget(sb, error);
    throw error;
  }
}

async function restore(sb: SandboxContext, tx: Transaction<RestoreStep>, from: RestoreRequest["from"]): Promise<void> {
  await tx.run("record", DEADLINES.release, () => sb.journal.store());
  const snapshot = "record" in from ? from : await takeInto(tx, from);
  await goOn(sb, tx, snapshot);
  if (!("record" in from)) await tx.undo("make-snapshot-files");
  await tx.run("commit", DEADLINES.release, () => moveSandbox(sb, "ready"));
  if (snapshot.record.state === "running") await moveSandbox(sb, "running");
  await sb.hooks.notify("afterCreate", { sandbox: sb.id });
}

async function takeInto(tx: Transaction<RestoreStep>, { directory, take }: Exclude<RestoreRequest["from"], Snapshot>): Promise<Snapshot> {
  const files: SnapshotFilesIntent = { directory, madeUp: true };
  await tx.acquire("make-snapshot-files", { owner: ENGINE, kind: "snapshot-files" }, files, DEADLINES.release);
  return tx.run("take-snapshot", DEADLINES.snapshot + DEADLINES.rootfs, take);
}

async function goOn(sb: SandboxContext, tx: Transaction<RestoreStep>, snapshot: Snapshot): Promise<void> {
  const { record } = sb.journal;
  const runDirectory = runDirectoryOf(sb.engine.root, sb.id);
  await tx.acquire("make-run-directory", { owner: ENGINE, kind: "run-directory" }, { path: runDirectory }, DEADLINES.agent);
  const moved = await tx.run("place-disks", DEADLINES.rootfs, (signal) => placeDisks(sb, snapshot, signal));
  const plugged = pluggedIn(snapshot.record, snapshot.size, moved, sb.id);
  const from = { memory: { kind: "snapshot", state: snapshot.state }, plugged } as const;
  const vm = await launchAndConnect(sb, tx, { config: record.config, boot: snapshot.boot, runDirectory, from });
  const renewed = await tx.run("renew-identity", DEADLINES.agent, (signal) => renewIdentity(sb, { signal, log: sb.log }));
  record.origin = { from: "snapshot", of: snapshot.record.id, ...renewed };
  await carryOver(sb, tx, snapshot, vm, moved);
}

/** What was carried over is in the VM, and goes with it. */
function dropCarried(sb: SandboxContext): void {
  const { record } = sb.journal;
  for (const process of sb.processes.values()) process.close();
  sb.processes.clear();
  for (const holding of record.holdings.filter(({ step }) => step === CARRIED_STEP)) sb.journal.drop(holding);
  Object.assign(record, { containers: {}, devices: {} });
  delete record.granted;
}

async function carryOver(
  sb: SandboxContext,
  tx: Transaction<RestoreStep>,
  snapshot: Snapshot,
  vm: VmGrant,
  moved: MovedDisks,
): Promise<void> {
  const { journal } = sb;
  await tx.run("carry-over", DEADLINES.agent, async (signal) => {
    const { holdings, ...carried } = carry(snapshot.record, { sandbox: sb.id, vm, moved });
    Object.assign(journal.record, carried);
    for (const { status, grant, ...holding } of holdings) {
      journal.update(journal.intend({ ...holding, step: CARRIED_STEP }), { status, ...(grant === undefined ? {} : { grant }) });
    }
    await journal.save();
    sb.guest.details = await sb.guest.client.guestDetails({ signal, log: sb.log });
  });
  await tx.run("let-go-on", DEADLINES.agent, async (signal) => {
    followContainers(sb); // followed before they run: nothing they say is missed
    const running = Object.values(journal.record.containers).filter(({ state }) => state === "running");
    for (const { id } of running) await sb.guest.client.resumeContainer(id, { signal, log: sb.log }).catch(unlessEnded);
  });
}

/** Puts the disks that it writes to where they stay as long as it is there, and says where each is now. */
async function placeDisks(sb: SandboxContext, { disks }: Snapshot, signal: AbortSignal): Promise<MovedDisks> {
  const directory = ownDisksOf(sb.engine.root, sb.id);
  const moved = new Map<string, MovedDisk>();
  for (const { path, copy, readonly } of disks) {
    const place = copy === undefined ? path : join(directory, basename(copy));
    if (copy !== undefined && copy !== place) {
      await mkdir(directory, { recursive: true, mode: 0o700 });
      await (readonly ? linkDisk : copyDisk)(copy, place, signal);
    }
    moved.set(path, { path: place, identity: await identifyDevice("snapshot.disks", place) });
  }
  return moved;
}
