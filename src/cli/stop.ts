import { EXIT } from "./exit-codes.ts";
import { type EngineFlags, withEngine } from "./open-engine.ts";
import { writeLines } from "./output.ts";

export interface StopFlags extends EngineFlags {
  readonly force?: boolean;
}

/** `tapvisor stop <id>`: stops containers, guest and VM. A sandbox that was to die with its script is removed too: that script is dead. */
export function stopCommand(id: string, { force, ...flags }: StopFlags): Promise<number> {
  return withEngine(flags, async (engine) => {
    const { detached } = await engine.inspect(id);
    const sandbox = await engine.sandbox(id);
    await sandbox.stop({ force: force ?? false });
    if (!detached) await sandbox.delete();
    writeLines([detached ? `${id} stopped` : `${id} stopped and removed: it was not detached`]);
    return EXIT.ok;
  });
}
