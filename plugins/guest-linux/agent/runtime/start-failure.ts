import { readFile } from "node:fs/promises";
import { StatusError } from "../status.ts";
import type { CommandSearch } from "./find-command.ts";

/** What the runtime says when it has found the program, and the kernel refuses to execute it. */
const EXEC_REFUSED = /^exec container process (?:\(missing dynamic library\?\) )?`.*`: (.*)$/s;

/**
 * The failure of a start, from the log that the runtime wrote before the process could run. A shell's exit codes: 127 for a command that does not exist,
 * 126 for one that cannot be executed.
 */
export async function failureFromLog(logFile: string, search: CommandSearch): Promise<StatusError> {
  const reason = lastError(await readFile(logFile, "utf8").catch(() => ""));
  if (reason === undefined) return new StatusError("INTERNAL", "Cannot start the process: the runtime ended and said nothing");
  // crun says "not found" for what exists and is no program too, and names no file when it may not be executed.
  if (/^executable file `.*` not found in \$PATH/s.test(reason) || reason.startsWith("open executable")) {
    return cannotRun(search, (await search.exists()) ? 126 : 127, reason);
  }
  return new StatusError("INTERNAL", `Cannot start the process: ${reason}`);
}

/**
 * The failure of a start when the kernel refused the program; `undefined` when `stderr` is the process's own. At that point the runtime has no log any
 * more: it writes its one line, of the log's form, to the process's standard error.
 */
export function failureFromStderr(stderr: string, search: CommandSearch): StatusError | undefined {
  if (stderr.indexOf("\n") !== stderr.length - 1) return undefined;
  const why = EXEC_REFUSED.exec(errorIn(stderr) ?? "")?.[1];
  if (why === undefined) return undefined;
  // The file is there, so what does not exist is what its first line or its ELF header names.
  return cannotRun(search, 126, why.startsWith("No such file") ? "its interpreter or loader does not exist" : why);
}

function cannotRun({ command }: CommandSearch, exitCode: 126 | 127, reason: string): StatusError {
  return new StatusError("FAILED_PRECONDITION", `Cannot run ${JSON.stringify(command)}: ${reason}`, exitCode);
}

function lastError(log: string): string | undefined {
  const lines = log.trimEnd().split("\n").reverse();
  // A log that a full tmpfs has cut short is no JSON: better than nothing.
  return lines.map(errorIn).find((message) => message !== undefined) ?? (lines[0] || undefined);
}

/** The message of a line of the runtime's log, one JSON object, when it is an error. */
function errorIn(line: string): string | undefined {
  try {
    const { level, msg } = JSON.parse(line) as { level?: unknown; msg?: unknown };
    return level === "error" && typeof msg === "string" ? msg : undefined;
  } catch {
    return undefined;
  }
}
