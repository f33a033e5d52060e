import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import type { Readable } from "node:stream";
import { withDeadline } from "../base/deadline.ts";
import { isTapvisorError, messageOf, TapvisorError } from "../base/errors.ts";
import { printable } from "../base/printable.ts";
import { identifyProcess, type ProcessIdentity } from "../base/process-identity.ts";
import { KiB } from "../base/units.ts";
import type { OciHook, OciHookPhase } from "../config/container-config.ts";

/** The state of a container as the OCI runtime specification (1.1) gives it to hooks. */
export interface OciState {
  readonly ociVersion: "1.1.0";
  readonly id: string;
  readonly status: "creating" | "running" | "stopped";
  /** The VM's process on the host: nothing of the container runs there. Absent when the container is stopped. */
  readonly pid?: number;
  readonly bundle: string;
  readonly annotations: Readonly<Record<string, string>>;
}

export interface HookRun {
  readonly phase: OciHookPhase;
  readonly hook: OciHook;
  readonly state: OciState;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  /** Told who the process is before it is given the state; `undefined` when it has ended already. */
  readonly onStart?: (process: ProcessIdentity | undefined) => Promise<void>;
}

/** So much of the end of each of a hook's streams is kept. */
const KEPT_BYTES = 64 * KiB;
/** How long a killed process gets to be gone, and output that has been written to arrive, ms. */
const SETTLE_MS = 1_000;

/**
 * Runs one hook to its end: the state on its stdin, exactly the environment it was given, "/" as its directory, and a process group of its
 * own, which is killed at the deadline or when the caller gives up.
 * @throws OCI_HOOK_FAILED when it cannot be run, ends otherwise than with 0 or does not end; ABORTED.
 */
export async function runOciHook(run: HookRun): Promise<void> {
  const { hook, timeoutMs, signal } = run;
  const wait = { what: `the ${run.phase} hook "${printable(hook.path)}"`, timeoutMs, signal };
  let running: RunningHook | undefined;
  try {
    const { exitCode, signal: by } = await withDeadline(wait, async () => {
      running = start(hook);
      const { child, ended } = running;
      await run.onStart?.(child.pid === undefined ? undefined : await identifyProcess(child.pid));
      child.stdin?.end(JSON.stringify(run.state));
      return ended;
    });
    await running?.drained();
    if (exitCode !== 0)
      throw failed(run, by ? `it was ended by ${by}` : `it ended with exit code ${exitCode}, wanted 0`, running, { exitCode });
  } catch (error) {
    await running?.kill();
    if (!isTapvisorError(error)) throw failed(run, messageOf(error), running, { cause: error });
    if (error.code !== "TIMEOUT") throw error;
    throw failed(run, `it did not end within ${timeoutMs / 1000} s and was killed with its process group`, running, { timedOut: true });
  }
}

interface Exit {
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
}

interface RunningHook {
  readonly child: ChildProcess;
  /** Rejects when the program could not be started. */
  readonly ended: Promise<Exit>;
  readonly stdout: () => string;
  readonly stderr: () => string;
  /** Resolves when all output has been read, or a moment later: what a hook leaves in the background may hold its pipes for ever. */
  drained(): Promise<void>;
  /** Kills its process group and resolves when it is gone. Ended already is success. */
  kill(): Promise<void>;
}

function start({ path, args, env }: OciHook): RunningHook {
  const [argv0 = path, ...rest] = args;
  const environment = Object.fromEntries(env.map((entry) => [entry.slice(0, entry.indexOf("=")), entry.slice(entry.indexOf("=") + 1)]));
  const child = spawn(path, rest, { argv0, env: environment, cwd: "/", detached: true, stdio: "pipe" });
  const closed = once(child, "close").catch(() => {}); // an error is told by `ended`
  const ended = new Promise<Exit>((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (exitCode, signal) => resolve({ exitCode, signal }));
  });
  ended.catch(() => {});
  child.stdin.on("error", () => {}); // a hook need not read its state
  return {
    child,
    ended,
    stdout: lastOf(child.stdout),
    stderr: lastOf(child.stderr),
    async drained() {
      await within(closed);
      for (const stream of [child.stdin, child.stdout, child.stderr]) stream.destroy();
    },
    async kill() {
      // The pid is this child's until its end has been seen here.
      if (child.pid !== undefined && child.exitCode === null && child.signalCode === null) killGroup(child.pid);
      await within(ended);
      await this.drained();
    },
  };
}

/** Kills every process of a group whose leader is known to live. */
export function killGroup(leader: number): void {
  try {
    process.kill(-leader, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

async function within(work: Promise<unknown>): Promise<void> {
  await withDeadline({ what: "the hook to be gone", timeoutMs: SETTLE_MS }, () => work).catch(() => {});
}

/** Reads a stream to its end and keeps its last bytes. */
function lastOf(stream: Readable): () => string {
  let kept = Buffer.alloc(0);
  stream.on("error", () => {});
  stream.on("data", (chunk: Buffer) => {
    kept = Buffer.concat([kept, chunk]);
    if (kept.length > KEPT_BYTES) kept = kept.subarray(kept.length - KEPT_BYTES);
  });
  return () => kept.toString("utf8");
}

function failed(
  { phase, hook, state }: HookRun,
  why: string,
  running: RunningHook | undefined,
  more: { readonly exitCode?: number | null; readonly timedOut?: boolean; readonly cause?: unknown },
): TapvisorError {
  const [stdout, stderr] = [printable(running?.stdout() ?? ""), printable(running?.stderr() ?? "")];
  const said = [stdout && `stdout "${stdout}"`, stderr && `stderr "${stderr}"`].filter(Boolean).join(", ");
  const { exitCode = null, timedOut = false, cause } = more;
  const message = `Cannot run the ${phase} hook "${printable(hook.path)}" of container "${state.id}": ${why}${said ? `; ${said}` : ""}`;
  return new TapvisorError("OCI_HOOK_FAILED", message, {
    data: { container: state.id, phase, path: hook.path, exitCode, timedOut, stdout, stderr },
    cause,
    ...(timedOut ? { hint: "give the hook a longer timeout, in seconds, or mend what it waits for" } : {}),
  });
}
