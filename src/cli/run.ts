import { accessSync, constants, statSync } from "node:fs";
import { extname, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { messageOf } from "../base/errors.ts";
import { closeGuarded } from "../engine/exit-guard.ts";
import { CliError } from "./cli-error.ts";
import { EXIT } from "./exit-codes.ts";
import { ownPackage } from "./own-modules.ts";
import { printError } from "./print-error.ts";
import { registerScriptHooks } from "./script-hooks.ts";

const EXTENSIONS = [".ts", ".mts", ".js", ".mjs"];

export interface RunOptions {
  readonly script: string;
  /** Everything after the script, untouched. */
  readonly args: readonly string[];
  readonly verbose: boolean;
}

/**
 * Runs one script file in this process as `node script` would: its `process.argv`, its exit code. A script that fails has its error
 * printed and ends with code 1; what it left undisposed is taken down as at any other end of its process.
 */
export async function runScript({ script, args, verbose }: RunOptions): Promise<void> {
  const file = findScript(script);
  try {
    registerScriptHooks(ownPackage(import.meta.url));
  } catch (error) {
    throw new CliError(EXIT.ownFailure, `Cannot prepare to run "${script}": ${messageOf(error)}`, { cause: error });
  }
  process.argv = [process.execPath, file, ...args];
  const fail = async (error: unknown) => {
    printError(error, verbose);
    await closeGuarded(); // `await using` further up has not run when the error came from a callback
    process.exit(EXIT.failed);
  };
  process.on("uncaughtException", (error) => {
    // A listener of the script's own has taken charge, as it would under node.
    if (process.listenerCount("uncaughtException") === 1) void fail(error);
  });
  process.once("exit", (code) => {
    // With 13 here the script chose it; Node's own stands in exitCode only.
    if (code === 0 && process.exitCode === UNSETTLED_AWAIT) {
      process.stderr.write(`error: ${script} ended while it awaited something that nothing can settle any more\n`);
    }
  });
  await import(pathToFileURL(file).href).catch(fail);
}

/** The code node ends with when the event loop is empty and a top-level await is not settled. */
const UNSETTLED_AWAIT = 13;

function findScript(script: string): string {
  const file = resolve(script);
  const stats = statSync(file, { throwIfNoEntry: false });
  if (!stats) throw new CliError(EXIT.notFound, `Cannot run "${script}": no such file`, { hint: `looked for ${file}` });
  if (!stats.isFile()) throw new CliError(EXIT.notExecutable, `Cannot run "${script}": it is not a file, wanted a script`);
  if (!EXTENSIONS.includes(extname(file))) {
    throw new CliError(EXIT.notExecutable, `Cannot run "${script}": wanted a file that ends in ${EXTENSIONS.join(", ")}`);
  }
  try {
    accessSync(file, constants.R_OK);
  } catch (error) {
    throw new CliError(EXIT.notExecutable, `Cannot run "${script}": it cannot be read`, { cause: error });
  }
  return file;
}
