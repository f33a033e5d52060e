import { resolve } from "node:path";
import { DEADLINES } from "../config/defaults.ts";
import type { SandboxContext } from "../engine/context.ts";
import { ENGINE } from "../engine/holders.ts";
import { type Transaction, transact } from "../engine/transaction.ts";
import { exclusively } from "../sandbox/exclusively.ts";
import { requireSandbox } from "../sandbox/state.ts";
import { savedOn } from "../template/saved-on.ts";
import { type SnapshotFilesIntent, snapshotFilesIn } from "./files.ts";
import { writeManifest } from "./manifest.ts";
import { orFailed, TAKE_SNAPSHOT_STEPS, take } from "./take.ts";
import { refuseUncarried } from "./uncarried.ts";

/** The steps of saving a sandbox to a directory, in order. */
export const SAVE_SNAPSHOT_STEPS = ["make-snapshot-files", ...TAKE_SNAPSHOT_STEPS, "describe"] as const;

/** Saves a running sandbox to a new directory, from which it can go on any number of times, in other processes too; it itself goes on. A failure leaves no directory. */
export function saveSnapshot(sb: SandboxContext, path: string, signal: AbortSignal | undefined): Promise<void> {
  const files = snapshotFilesIn(resolve(path));
  return exclusively(sb, signal, async () => {
    requireSandbox(sb, "snapshot", "ready", "running");
    await refuseUncarried(sb, "snapshot");
    const operation = { name: "save snapshot", steps: SAVE_SNAPSHOT_STEPS, sandbox: sb.id, signal };
    const save = async (tx: Transaction<(typeof SAVE_SNAPSHOT_STEPS)[number]>) => {
      const intent: SnapshotFilesIntent = { directory: files.directory };
      await tx.acquire("make-snapshot-files", { owner: ENGINE, kind: "snapshot-files" }, intent, DEADLINES.release);
      const snapshot = await take(sb, tx, files);
      await tx.run("describe", DEADLINES.rootfs, async (inner) => {
        await writeManifest(files, snapshot, await savedOn(sb.engine, snapshot.boot, { signal: inner, log: sb.log }));
      });
      await tx.handOut("make-snapshot-files");
    };
    await orFailed(sb, () => transact(sb, operation, save));
  });
}
