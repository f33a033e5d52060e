import { execFile } from "node:child_process";
import { constants } from "node:fs";
import { access } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { type Call, messageOf, TapvisorError, withDeadline } from "tapvisor/plugin";

/** Where an administrator's programs lie; not in the search path of ordinary users. */
const SYSTEM_DIRECTORIES = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/** The path of a program in the search path or the system's own directories; `undefined` when there is none. */
export async function findProgram(name: string): Promise<string | undefined> {
  for (const directory of [...(process.env.PATH ?? "").split(delimiter).filter(Boolean), ...SYSTEM_DIRECTORIES]) {
    const path = join(directory, name);
    if (await isExecutable(path)) return path;
  }
  return undefined;
}

/** @throws HOST_MISSING naming the Debian package. */
export async function needProgram(name: string, debianPackage: string): Promise<string> {
  const path = await findProgram(name);
  if (path !== undefined) return path;
  throw new TapvisorError("HOST_MISSING", `Cannot build the guest: the program ${name} is not installed`, {
    data: { what: name, wanted: `the Debian package ${debianPackage}` },
    hint: `install it: sudo apt-get install ${debianPackage}`,
  });
}

export interface Run {
  /** What is done, as it stands in errors: "make the guest's image". */
  readonly action: string;
  readonly timeoutMs: number;
  readonly cwd?: string;
}

/**
 * Runs a program to its end and returns what it printed, at most 8 MiB. Its messages are in English whatever the user's language.
 *
 * @throws INTERNAL with the program's last words when it fails; TIMEOUT; ABORTED.
 */
export async function runProgram(file: string, args: readonly string[], call: Call, run: Run): Promise<string> {
  const env = { PATH: [process.env.PATH, ...SYSTEM_DIRECTORIES].join(delimiter), HOME: process.env.HOME, LC_ALL: "C" };
  call.log.debug({ file, args }, run.action);
  return withDeadline({ what: `${file} to ${run.action}`, timeoutMs: run.timeoutMs, signal: call.signal }, (signal) => {
    return new Promise((resolve, reject) => {
      const options = { ...(run.cwd && { cwd: run.cwd }), env, signal, killSignal: "SIGKILL", maxBuffer: 8 << 20 } as const;
      execFile(file, args, options, (error, stdout, stderr) => (error ? reject(failed(file, run, error, stderr)) : resolve(stdout)));
    });
  });
}

function failed(file: string, run: Run, error: Error, stderr: string): TapvisorError {
  const lines = stderr.trim().split("\n").slice(-3).join("; ");
  return new TapvisorError("INTERNAL", `Cannot ${run.action}: ${file} failed: ${lines || messageOf(error)}`, {
    data: { detail: stderr.slice(-4096) },
    cause: error,
  });
}

async function isExecutable(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}
