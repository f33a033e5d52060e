import type { SandboxSummary } from "../engine/list.ts";
import { EXIT } from "./exit-codes.ts";
import { type EngineFlags, withEngine } from "./open-engine.ts";
import { columns, writeJson, writeLines } from "./output.ts";

export interface PsFlags extends EngineFlags {
  readonly json?: boolean;
}

/** `tapvisor ps`: every sandbox below the engine's root, whichever process made it. */
export function psCommand({ json, ...flags }: PsFlags): Promise<number> {
  return withEngine(flags, async (engine) => {
    const sandboxes = await engine.list();
    if (json) writeJson(sandboxes);
    else writeLines([...columns([TITLES, ...sandboxes.map(row)]), ...sandboxes.flatMap(problem)]);
    return EXIT.ok;
  });
}

const TITLES = ["ID", "STATE", "CREATED", "OWNER", "CONTAINERS"];

function row({ id, state, created, owner, detached, containers }: SandboxSummary): string[] {
  return [id, state, created ?? "-", ownerOf(owner, detached), String(containers ?? "-")];
}

/** Without a live process in charge a detached sandbox is as it should be; any other one is waiting for `gc`. */
function ownerOf(owner: number | undefined, detached: boolean | undefined): string {
  if (owner !== undefined) return String(owner);
  if (detached === undefined) return "-";
  return detached ? "detached" : "gone";
}

function problem({ id, reason }: SandboxSummary): string[] {
  return reason === undefined ? [] : [`${id}: ${reason}`];
}
