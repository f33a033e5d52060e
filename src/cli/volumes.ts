import { formatBytes } from "../base/units.ts";
import { EXIT } from "./exit-codes.ts";
import { type EngineFlags, withEngine } from "./open-engine.ts";
import { columns, writeJson, writeLines } from "./output.ts";

export interface VolumesFlags extends EngineFlags {
  readonly json?: boolean;
  readonly rm?: string;
}

/** `tapvisor volumes`: the named volumes below the engine's root; `--rm` removes one. */
export function volumesCommand({ json, rm, ...flags }: VolumesFlags): Promise<number> {
  return withEngine(flags, async (engine) => {
    if (rm !== undefined) {
      await engine.removeVolume(rm);
      return EXIT.ok;
    }
    const volumes = await engine.volumes({ measure: true });
    if (json) writeJson(volumes);
    else
      writeLines(
        columns([
          ["NAME", "CREATED", "SIZE"],
          ...volumes.map(({ name, created, bytes }) => [name, created, bytes === undefined ? "-" : formatBytes(bytes)]),
        ]),
      );
    return EXIT.ok;
  });
}
