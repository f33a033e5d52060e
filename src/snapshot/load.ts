import { resolve } from "node:path";
import { withDeadline } from "../base/deadline.ts";
import { DEADLINES } from "../config/defaults.ts";
import type { EngineContext, SandboxContext } from "../engine/context.ts";
import { snapshotFilesIn } from "./files.ts";
import { readSnapshot } from "./manifest.ts";
import { restoreSandbox } from "./restore.ts";

/** A sandbox that goes on from a saved directory, which stays as it is. */
export async function restoreSnapshot(
  engine: EngineContext,
  path: string,
  id: string,
  signal: AbortSignal | undefined,
): Promise<SandboxContext> {
  const files = snapshotFilesIn(resolve(path));
  const wait = { what: `the snapshot "${files.directory}" to be read`, timeoutMs: DEADLINES.rootfs, signal };
  const snapshot = await withDeadline(wait, (inner) => readSnapshot(engine, files, { signal: inner, log: engine.log }));
  return restoreSandbox(engine, { config: { ...snapshot.record.config, id }, from: snapshot }, signal);
}
