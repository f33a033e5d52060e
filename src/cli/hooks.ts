import { EXIT } from "./exit-codes.ts";
import { type EngineFlags, withEngine } from "./open-engine.ts";
import { columns, writeJson, writeLines } from "./output.ts";

export interface HooksFlags extends EngineFlags {
  readonly json?: boolean;
}

/** `tapvisor hooks`: who taps what, in the order the taps run, with the plugins of the configuration. */
export function hooksCommand({ json, ...flags }: HooksFlags): Promise<number> {
  return withEngine(flags, async ({ hooks }) => {
    if (json) writeJson(hooks);
    else if (hooks.length === 0) writeLines(["No plugin of the configuration taps a hook"]);
    else writeLines(columns([["HOOK", "PLUGIN", "STAGE"], ...hooks.map(({ hook, plugin, stage }) => [hook, plugin, String(stage)])]));
    return EXIT.ok;
  });
}
