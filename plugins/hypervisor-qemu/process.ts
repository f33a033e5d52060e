import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import type { Stream } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import { identifyProcess, isAlive, onceAborted, type ProcessIdentity, signalProcess, TapvisorError, toError } from "tapvisor/plugin";
import { asUser, type QemuUser } from "./user.ts";

export interface ProcessExit {
  readonly exitCode: number | null;
  readonly signal: string | null;
}

export interface Spawned {
  readonly child: ChildProcess;
  /** `undefined` when it had ended before it could be looked at. */
  readonly identity: ProcessIdentity | undefined;
  /** Settles when the process has ended. Never rejects. */
  readonly exited: Promise<ProcessExit>;
}

/** How often a process that is not our child is looked at, ms. */
const LOOK_EVERY_MS = 5;
/** How long a process gets to reap its killed child and end by itself, ms. */
const REAPS_WITHIN_MS = 200;

/**
 * Runs the program only if its parent still is the script: setpriv arms the signal for the parent's death after the fork, and a parent
 * that died before that would never be noticed.
 */
const GUARD = '[ "$PPID" = "$1" ] || exit 125; shift';
const RUN = 'exec "$@"';

/** The arguments that make a program end, by SIGKILL, with the thread that starts it: the main thread of this process. `first` is shell to run before it. */
export function dyingWithThisProcess(argv: readonly string[], first = ""): string[] {
  return ["setpriv", "--pdeathsig", "KILL", "sh", "-c", `${first}${GUARD}; ${RUN}`, "sh", String(process.pid), ...argv];
}

/** No core dump, which would hold the guest's memory: not of a program that crashes, and none that it could allow itself again. */
const NO_CORE = "ulimit -c 0";

/** A directory that is entered stays open, whoever may pass those above it. */
const ENTER = 'cd "$1"; shift; exec "$@"';

/** A program that runs as another user than this process. */
export interface Unprivileged {
  readonly user: QemuUser;
  /** Its working directory. */
  readonly directory: string;
}

/**
 * The arguments that run a program which a guest may break into: what it runs never has more rights than it has, whatever its file says, and it leaves no core
 * dump. Unless it is `detached` it ends with the thread that starts it: the kernel forgets that with a change of user, so it is armed after it, and whether the
 * parent lives is looked at after that.
 */
export function confined(argv: readonly string[], { detached }: { readonly detached: boolean }, as?: Unprivileged): string[] {
  const dying = detached ? ["sh", "-c", `${NO_CORE}; ${RUN}`, "sh", ...argv] : dyingWithThisProcess(argv, `${NO_CORE}; `);
  if (as) return ["sh", "-ec", ENTER, "sh", as.directory, ...asUser(as.user, dying)];
  if (detached) return ["setpriv", "--no-new-privs", ...dying];
  // Both in one: each program on the way to QEMU takes a millisecond and more.
  const [setpriv = "", ...words] = dying;
  return [setpriv, "--no-new-privs", ...words];
}

/** No secret of the script's environment reaches a process that a guest may break into; messages are in English, as they are matched. */
const ENVIRONMENT: NodeJS.ProcessEnv = {
  PATH: process.env.PATH,
  LD_LIBRARY_PATH: process.env.LD_LIBRARY_PATH,
  LC_ALL: "C",
};

const children = new Map<string, Promise<ProcessExit>>();
const keyOf = ({ pid, startTime }: ProcessIdentity): string => `${pid}:${startTime}`;

/**
 * Starts a process in a session of its own, so that Ctrl-C in the script's terminal reaches the script alone. `listen` is called before anything can be
 * missed: what a process that has ended had written to a pipe that nobody listens to is thrown away.
 *
 * @throws HOST_MISSING when there is no such program.
 */
export async function spawnProcess(
  argv: readonly string[],
  stdio: ("ignore" | "pipe" | Stream | number)[],
  listen: (child: ChildProcess) => void = () => {},
): Promise<Spawned> {
  const [program = "", ...args] = argv;
  const child = spawn(program, args, { stdio, detached: true, cwd: "/", env: ENVIRONMENT });
  listen(child);
  const exited = new Promise<ProcessExit>((resolve) => child.once("exit", (exitCode, signal) => resolve({ exitCode, signal })));
  await once(child, "spawn").catch((error: unknown) => {
    throw cannotSpawn(program, toError(error));
  });
  child.on("error", () => {}); // a signal that could not be sent: whoever sent it finds out by waiting
  const identity = child.pid === undefined ? undefined : await identifyProcess(child.pid);
  if (identity) {
    const key = keyOf(identity);
    children.set(
      key,
      exited.finally(() => children.delete(key)),
    );
  }
  return { child, identity, exited };
}

/** Resolves with `true` when this very process has ended, `false` when it still runs after `timeoutMs` or the signal has fired. */
export async function endsWithin(identity: ProcessIdentity, timeoutMs: number, signal?: AbortSignal): Promise<boolean> {
  const control = new AbortController();
  const stop = signal ? AbortSignal.any([control.signal, signal]) : control.signal;
  const timer = setTimeout(() => control.abort(), timeoutMs);
  try {
    const child = children.get(keyOf(identity));
    if (child) await Promise.race([child, onceAborted(stop)]);
    // Linux tells only the parent, or the holder of a pidfd, which Node cannot open: somebody else's process has to be looked at.
    else while (!stop.aborted && (await isAlive(identity))) await delay(LOOK_EVERY_MS);
  } finally {
    clearTimeout(timer);
    control.abort();
  }
  return !(await isAlive(identity));
}

/** Ends a process and whatever it started itself, children first, so that each parent can reap its own. */
export async function killTree(identity: ProcessIdentity): Promise<void> {
  const started = await childrenOf(identity.pid);
  for (const child of started) await killTree(child);
  if (started.length > 0 && (await endsWithin(identity, REAPS_WITHIN_MS))) return;
  await signalProcess(identity, "SIGKILL");
}

async function childrenOf(pid: number): Promise<ProcessIdentity[]> {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, "utf8").catch(() => "");
  const pids = text.split(" ").filter((word) => word.trim() !== "");
  const found = await Promise.all(pids.map((child) => identifyProcess(Number(child))));
  return found.filter((child) => child !== undefined);
}

function cannotSpawn(program: string, cause: Error): TapvisorError {
  return new TapvisorError("HOST_MISSING", `Cannot run "${program}": ${cause.message}, wanted a program that starts`, {
    data: { what: program },
    cause,
    hint: "`tapvisor doctor` shows what this host lacks",
  });
}
