import { setImmediate as nextTurn } from "node:timers/promises";
import { identifyProcess, type ProcessIdentity, signalProcess } from "tapvisor/plugin";
import { awaitExec } from "../runtime/await-exec.ts";
import type { ProcessStreams, RuntimeRun } from "../runtime/crun.ts";
import type { CommandSearch } from "../runtime/find-command.ts";
import { failureFromLog, failureFromStderr } from "../runtime/start-failure.ts";
import { StatusError } from "../status.ts";
import type { Terminal, TerminalSize } from "../terminal/terminal.ts";
import type { ProcessPipes } from "./pipes.ts";

/** How a process is brought to run: the call of the runtime and what explains its failure. */
export interface Launch {
  readonly runtimeProgram: string;
  readonly logFile: string;
  readonly search: CommandSearch;
  run(streams: ProcessStreams): RuntimeRun;
}

export type ProcessState = "created" | "starting" | "running" | "ended";

/** One process in a container: its streams, its end and its exit code, which stay readable after it has ended. */
export class GuestProcess {
  readonly pipes: ProcessPipes;
  /** Absent: its streams are the pipes themselves. */
  readonly terminal: Terminal | undefined;
  /** The exit code as a shell reports it. Never rejects; a process that could not start ends too (127, 126, or 125 for the runtime's failure). */
  readonly ended: Promise<number>;
  /** Settles when the start has succeeded or failed: before, what is in the streams may be the runtime's text, and nobody may read it. Never rejects. */
  readonly decided: Promise<void>;
  #state: ProcessState = "created";
  #run: RuntimeRun | undefined;
  #identity: ProcessIdentity | undefined;
  #settle: (exitCode: number) => void = () => {};
  #decide: () => void = () => {};

  constructor({ pipes, terminal }: ProcessStreams) {
    this.pipes = pipes;
    this.terminal = terminal;
    this.ended = new Promise((resolve) => {
      this.#settle = resolve;
    });
    this.decided = new Promise((resolve) => {
      this.#decide = resolve;
    });
  }

  get state(): ProcessState {
    return this.#state;
  }

  /** Which process it is in the guest; `undefined` until it runs, and for one that was over before it was seen. */
  get identity(): ProcessIdentity | undefined {
    return this.#identity;
  }

  /**
   * Starts it, and resolves when its own program runs, or has run and ended.
   * When `signal` fires before, it is ended, as soon as the runtime has said which process it is.
   * @throws FAILED_PRECONDITION when it is not in state created, or (with an exit code) when the command cannot run; INTERNAL with the runtime's reason.
   */
  async start(launch: Launch, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#state !== "created")
      throw new StatusError("FAILED_PRECONDITION", `Cannot start the process: it is ${this.#state}, wanted created`);
    this.#state = "starting";
    try {
      const { ended } = await this.#launch(launch, signal);
      if (this.terminal) this.pipes.stderr.discard(); // only the runtime's: the process writes all it has to say to the terminal
      this.#state = "running";
      void ended.then((exitCode) => {
        this.pipes.stdin.discard(); // nobody takes more; what has been written stays readable until it is read
        this.#end(exitCode);
      });
    } catch (error) {
      this.#release();
      this.#end((error instanceof StatusError && error.exitCode) || RUNTIME_FAILED);
      throw error;
    } finally {
      this.#decide();
    }
  }

  async #launch(launch: Launch, signal: AbortSignal): Promise<RuntimeRun> {
    const run = launch.run(this);
    this.#run = run;
    let over = false;
    const end = run.ended.then((exitCode) => {
      over = true;
      return exitCode;
    });
    const known = Promise.race([this.pipes.pidFile.text.then(Number), end.then(afterReads).then(() => undefined)]);
    const abort = () => void endStart(run, known);
    signal.addEventListener("abort", abort, { once: true });
    const pid = await known;
    const seen = pid !== undefined && (await awaitExec(pid, launch.runtimeProgram, () => over));
    if (seen) this.#identity = await identifyProcess(pid);
    const failure = seen ? undefined : await this.#failure(launch, pid, await end);
    if (!failure) await this.terminal?.ready;
    signal.removeEventListener("abort", abort);
    signal.throwIfAborted();
    if (failure) throw failure;
    return run;
  }

  /** Sends a signal; a process that has ended needs none. @throws FAILED_PRECONDITION when it has not been started. */
  async signal(number: number): Promise<void> {
    if (this.#state === "created" || this.#state === "starting") {
      throw new StatusError("FAILED_PRECONDITION", `Cannot send signal ${number}: the process is ${this.#state}, wanted running`);
    }
    const child = this.#run?.child;
    if (this.#state === "ended" || child?.exitCode !== null || child.signalCode !== null) return;
    // The runtime passes on what it gets to the process, whose parent it is: no pid is used that could be another's by now.
    const unpassable = UNPASSABLE.get(number);
    if (unpassable === undefined) child.kill(number);
    else if (this.#identity) await signalProcess(this.#identity, unpassable);
  }

  /** Sets its terminal's size; one that has ended needs none. @throws FAILED_PRECONDITION when it has no terminal, or has not been started. */
  resize(size: TerminalSize): void {
    const { terminal } = this;
    if (!terminal) throw new StatusError("FAILED_PRECONDITION", "Cannot resize the terminal: the process has none");
    if (this.#state === "created" || this.#state === "starting") {
      throw new StatusError("FAILED_PRECONDITION", `Cannot resize the terminal: the process is ${this.#state}, wanted running`);
    }
    terminal.resize(size);
  }

  /** Ends the runtime itself, when the process is gone and it does not notice. */
  killRuntime(): void {
    this.#run?.child.kill("SIGKILL");
  }

  /** Releases the streams; with a process that never started, ends it. Again is nothing. */
  discard(): void {
    this.#release();
    this.#decide();
    if (this.#state === "created") this.#end(RUNTIME_FAILED);
  }

  async #failure(launch: Launch, pid: number | undefined, exitCode: number): Promise<StatusError | undefined> {
    if (pid === undefined) return failureFromLog(launch.logFile, launch.search);
    if (exitCode !== 1) return undefined;
    // Set up, and over before its own program was seen: either it was quick and failed, or the kernel refused the program.
    const stream = this.terminal ? this.pipes.stdout : this.pipes.stderr;
    const chunk = await stream.read(8192);
    const failure = failureFromStderr(chunk.data.toString("utf8"), launch.search);
    if (!failure) stream.giveBack(chunk);
    return failure;
  }

  #release(): void {
    this.terminal?.end();
    this.pipes.discard();
  }

  #end(exitCode: number): void {
    this.#state = "ended";
    this.#settle(exitCode);
  }
}

/** A runtime that has ended may have written before what is not read yet: on a busy machine its end can be seen first. Two turns of the loop read it. */
async function afterReads(): Promise<void> {
  await nextTurn();
  await nextTurn();
}

/** How long the runtime may take to say which process it has started, before it is killed and what it may have started is left to the cgroup, ms. */
const SAY_MS = 1000;

/** Ends what is being started. Killing the runtime alone could leave a process that nobody knows. */
async function endStart({ child }: RuntimeRun, known: Promise<number | undefined>): Promise<void> {
  const silent = setTimeout(() => child.kill("SIGKILL"), SAY_MS);
  const pid = await known;
  clearTimeout(silent);
  // The runtime is its parent and has not collected it: the number is its own as long as the runtime runs.
  const identity = pid === undefined || child.exitCode !== null ? undefined : await identifyProcess(pid);
  if (identity) await signalProcess(identity, "SIGKILL");
}

/** The exit code of what could not be run though its command can. */
const RUNTIME_FAILED = 125;

/** The signals that the runtime cannot catch, and so cannot pass on. */
const UNPASSABLE: ReadonlyMap<number, NodeJS.Signals> = new Map([
  [9, "SIGKILL"],
  [19, "SIGSTOP"],
]);
