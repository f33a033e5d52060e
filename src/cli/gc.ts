import type { CollectReport } from "../engine/collect.ts";
import { EXIT } from "./exit-codes.ts";
import { type EngineFlags, withEngine } from "./open-engine.ts";
import { writeJson, writeLines } from "./output.ts";

export interface GcFlags extends EngineFlags {
  readonly json?: boolean;
}

/** `tapvisor gc`: gives back what dead scripts have left; the exit code is 1 when something is left still. */
export function gcCommand({ json, ...flags }: GcFlags): Promise<number> {
  return withEngine(flags, async (engine) => {
    const report = await engine.gc();
    if (json) writeJson(report);
    else writeLines(describe(report));
    return report.failed.length + report.corrupt.length === 0 ? EXIT.ok : EXIT.failed;
  });
}

function describe({ collected, kept, failed, corrupt }: CollectReport): string[] {
  const lines = [
    ...collected.map((id) => `collected ${id}`),
    ...kept.map((id) => `kept ${id}: it is in use`),
    ...failed.flatMap(({ id, left }) => left.map(({ step, owner, reason }) => `left ${id}: ${step} (${owner}): ${reason}`)),
    ...corrupt.map(({ id, reason }) => `unreadable ${id}: ${reason}`),
  ];
  return lines.length > 0 ? lines : ["Nothing to give back"];
}
