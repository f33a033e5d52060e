import { isTapvisorError } from "../base/errors.ts";
import type { ExecOptions } from "../config/exec-config.ts";
import { beforeSignalledExit } from "../engine/exit-guard.ts";
import { CliError } from "./cli-error.ts";
import { connectTerminal, requireTerminal, terminalSize } from "./connect-terminal.ts";
import { EXIT } from "./exit-codes.ts";
import { type EngineFlags, withEngine } from "./open-engine.ts";
import { printError } from "./print-error.ts";
import { openContainer } from "./target.ts";

export interface ExecFlags extends EngineFlags {
  readonly interactive?: boolean;
  readonly tty?: boolean;
  readonly env?: string | readonly string[];
  readonly user?: string | number;
  readonly workdir?: string;
}

/** `tapvisor exec <target> <program>…`: runs a program in a container, connected with this one's streams; gives its exit code. */
export function execCommand(target: string, command: readonly string[], flags: ExecFlags): Promise<number> {
  if (command.length === 0)
    throw new CliError(EXIT.usage, "No program to run: wanted one behind the target", { hint: "tapvisor exec box -- sh" });
  const { tty = false, interactive = false } = flags;
  if (tty) requireTerminal();
  const options = execOptions(flags);
  return withEngine(flags, async (engine) => {
    const container = await openContainer(engine, target);
    await using running = container.exec(command, { ...options, ...(tty && { tty, ttySize: terminalSize() }) });
    const forget = beforeSignalledExit(() => running.kill("SIGKILL"));
    try {
      await running.started;
      return (await connectTerminal(running, { interactive, tty })).exitCode;
    } catch (error) {
      const exitCode = codeOf(error);
      if (exitCode === undefined) throw error;
      printError(error, false);
      return exitCode;
    } finally {
      forget();
    }
  });
}

/** A command that is not there or cannot run ends as a shell would. */
function codeOf(error: unknown): number | undefined {
  if (!isTapvisorError(error)) return undefined;
  return error.code === "COMMAND_NOT_FOUND" || error.code === "COMMAND_NOT_EXECUTABLE" ? error.data.exitCode : undefined;
}

function execOptions({ env = [], user, workdir }: ExecFlags): ExecOptions {
  const variables = [env].flat().map((each) => {
    const [, name, value] = /^([^=]+)=(.*)$/s.exec(String(each)) ?? [];
    if (name === undefined || value === undefined) throw new CliError(EXIT.usage, `Cannot use --env ${each}: wanted NAME=value`);
    return [name, value] as const;
  });
  return {
    ...(variables.length > 0 && { env: Object.fromEntries(variables) }),
    ...(workdir !== undefined && { cwd: String(workdir) }),
    ...(user !== undefined && { user: userOf(String(user)) }),
  };
}

function userOf(text: string): { uid: number; gid?: number } {
  const [, uid, gid] = /^(\d+)(?::(\d+))?$/.exec(text) ?? [];
  if (uid === undefined) throw new CliError(EXIT.usage, `Cannot use --user ${text}: wanted uid or uid:gid, by number`);
  return { uid: Number(uid), ...(gid !== undefined && { gid: Number(gid) }) };
}
