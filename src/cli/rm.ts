import { isTapvisorError } from "../base/errors.ts";
import type { Sandbox } from "../sandbox/sandbox.ts";
import { CliError } from "./cli-error.ts";
import { EXIT } from "./exit-codes.ts";
import { type EngineFlags, withEngine } from "./open-engine.ts";
import { writeLines } from "./output.ts";

export interface RmFlags extends EngineFlags {
  readonly force?: boolean;
}

/** `tapvisor rm <id>`: removes a sandbox that does not run; with `--force` whatever it does. */
export function rmCommand(id: string, { force, ...flags }: RmFlags): Promise<number> {
  return withEngine(flags, async (engine) => {
    const sandbox = await engine.sandbox(id);
    if (force) await sandbox.stop({ force: true });
    await remove(sandbox);
    writeLines([`${id} removed`]);
    return EXIT.ok;
  });
}

async function remove(sandbox: Sandbox): Promise<void> {
  try {
    await sandbox.delete();
  } catch (error) {
    if (!isTapvisorError(error) || error.code !== "INVALID_STATE") throw error;
    throw new CliError(EXIT.ownFailure, `Cannot remove sandbox "${sandbox.id}": it is ${error.data.state}`, {
      hint: `stop it first, or \`tapvisor rm ${sandbox.id} --force\``,
      cause: error,
    });
  }
}
