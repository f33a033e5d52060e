import { newId } from "../base/ids.ts";
import type { SandboxContext } from "../engine/context.ts";
import { requireSandbox } from "../sandbox/state.ts";
import { makeTemplatesDirectory, workPlaceOf } from "../template/files.ts";
import { ownDisksOf, snapshotFilesIn } from "./files.ts";
import { restoreSandbox } from "./restore.ts";
import { takeSnapshot } from "./take.ts";
import { refuseUncarried } from "./uncarried.ts";

/** A running copy of a sandbox, which goes on by itself. The saved VM lies where templates do, in the host's memory as a rule, and is gone with the fork's start. */
export async function forkSandbox(sb: SandboxContext, id: string, signal: AbortSignal | undefined): Promise<SandboxContext> {
  const { engine } = sb;
  requireSandbox(sb, "fork", "ready", "running");
  await refuseUncarried(sb, "fork");
  await makeTemplatesDirectory(engine.templates.directory);
  const { directory, state } = snapshotFilesIn(workPlaceOf(engine.templates.directory, newId("fork")));
  const place = { state, disks: ownDisksOf(engine.root, id) };
  const take = (inner: AbortSignal) => takeSnapshot(sb, "fork", place, inner);
  return restoreSandbox(engine, { config: { ...sb.journal.record.config, id }, from: { directory, take } }, signal);
}
