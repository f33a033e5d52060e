import { constants } from "node:os";
import { messageOf } from "../../base/errors.ts";
import { Mutex } from "../../base/mutex.ts";
import type { OciProcess } from "../../contracts/oci.ts";
import { BytePipe, type SavedPipe } from "./byte-pipe.ts";
import type { FakeProcessContext, FakeProgram } from "./programs.ts";

const { SIGINT, SIGKILL, SIGCHLD, SIGCONT, SIGURG, SIGWINCH, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU } = constants.signals;

export interface TerminalSize {
  readonly rows: number;
  readonly columns: number;
}

/** How much a program reads at once, bytes. */
const CHUNK = 65_536;

/** Those that do not end a process by default. Stopping one is not shown by this world. */
const HARMLESS: ReadonlySet<number> = new Set([SIGCHLD, SIGCONT, SIGURG, SIGWINCH, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU]);

/** What a terminal makes of these bytes of its input, as long as no program asks it for something else. */
const CTRL_C = 3;
const CTRL_D = 4;

/** A process as it was when its VM was saved. */
export interface SavedProcess {
  readonly pid: number;
  readonly spec: OciProcess;
  readonly state: "created" | "running" | "exited";
  readonly exitCode: number | undefined;
  readonly paused: boolean;
  readonly size: TerminalSize | undefined;
  readonly elapsedMs: number;
  readonly stdin: SavedPipe;
  readonly stdout: SavedPipe;
  readonly stderr: SavedPipe;
  readonly pending: readonly number[];
  readonly memory: Record<string, unknown>;
}

/** A process in a guest of the fake world. */
export class FakeProcess {
  /** As its container counts it. */
  readonly pid: number;
  readonly spec: OciProcess;
  readonly stdin: BytePipe;
  readonly stdout: BytePipe;
  readonly stderr: BytePipe;
  /** What its program keeps: a VM that goes on from a saved one runs the program anew, with this as it was. */
  readonly memory: Record<string, unknown>;
  /** Settles with the exit code as a shell reports it. */
  readonly exited: Promise<number>;
  state: "created" | "running" | "exited" = "created";
  exitCode: number | undefined;
  /** Frozen: its program gets no further than its next read, write or end. */
  paused = false;
  #size: TerminalSize | undefined;
  #startedMs = 0;
  readonly #killed = new AbortController();
  readonly #traps = new Map<number, () => void>();
  #settle: (exitCode: number) => void = () => {};
  /** The signals that came while it was frozen. */
  #pending: number[] = [];
  #thawed: Promise<void> = Promise.resolve();
  #thaw: () => void = () => {};

  /** With `saved`, what another was; one that ran is to be started again. */
  constructor(spec: OciProcess, pid: number, saved?: SavedProcess) {
    this.spec = spec;
    this.pid = pid;
    const { height: rows, width: columns } = spec.consoleSize ?? { height: 0, width: 0 };
    this.#size = saved ? saved.size : spec.terminal ? { rows, columns } : undefined;
    this.stdin = new BytePipe(saved?.stdin);
    this.stdout = new BytePipe(saved?.stdout);
    this.stderr = spec.terminal ? this.stdout : new BytePipe(saved?.stderr);
    this.memory = structuredClone(saved?.memory ?? {});
    this.exited = new Promise((resolve) => {
      this.#settle = resolve;
    });
    if (saved?.state === "exited") this.end(saved.exitCode ?? 0);
  }

  /** @throws a DataCloneError when its program keeps in `memory` what is no data. */
  save(): SavedProcess {
    const { pid, spec, state, exitCode, paused, size, stdin, stdout, stderr } = this;
    const pipes = { stdin: stdin.save(), stdout: stdout.save(), stderr: stderr.save() };
    const elapsedMs = state === "created" ? 0 : this.elapsedMs;
    return {
      pid,
      spec,
      state,
      exitCode,
      paused,
      size,
      elapsedMs,
      ...pipes,
      pending: [...this.#pending],
      memory: structuredClone(this.memory),
    };
  }

  /** Starts the program of one that ran when it was saved, frozen if it was. */
  goOn(program: FakeProgram, { elapsedMs, paused, pending }: Pick<SavedProcess, "elapsedMs" | "paused" | "pending">): void {
    this.state = "running";
    if (paused) this.pause();
    this.#pending = [...pending];
    this.start(program);
    this.#startedMs -= elapsedMs;
  }

  /** The size of its terminal; `undefined` when it has none. */
  get size(): TerminalSize | undefined {
    return this.#size;
  }

  /** How long ago it was started. */
  get elapsedMs(): number {
    return performance.now() - this.#startedMs;
  }

  /** Gives its terminal, which it must have, another size. */
  resize(size: TerminalSize): void {
    this.#size = size;
    this.signal(SIGWINCH);
  }

  /** How much of the input it took, as `BytePipe.write`. Of a terminal's, Ctrl-C is a SIGINT and Ctrl-D the end. */
  async input(data: Uint8Array, signal: AbortSignal): Promise<number> {
    if (!this.#size) return this.stdin.write(data, signal);
    const special = data.findIndex((byte) => byte === CTRL_C || byte === CTRL_D);
    if (special > 0) return this.stdin.write(data.subarray(0, special), signal);
    if (special < 0) return this.stdin.write(data, signal);
    if (this.state === "exited") return 0;
    if (data[0] === CTRL_C) this.signal(SIGINT);
    else this.stdin.end();
    return 1;
  }

  start(program: FakeProgram): void {
    this.state = "running";
    this.#startedMs = performance.now();
    void this.#run(program);
  }

  pause(): void {
    if (this.paused || this.state !== "running") return;
    this.paused = true;
    this.#thawed = new Promise((resolve) => {
      this.#thaw = resolve;
    });
  }

  resume(): void {
    this.paused = false;
    this.#thaw();
    for (const number of this.#pending.splice(0)) this.signal(number);
  }

  /** Delivers a signal; one to a process that has ended is ignored, and a frozen one gets all but SIGKILL when it is resumed. */
  signal(number: number): void {
    if (this.paused && number !== SIGKILL) return void this.#pending.push(number);
    const trap = this.#traps.get(number);
    if (this.state === "exited" || (HARMLESS.has(number) && !trap)) return;
    if (trap && number !== SIGKILL) trap();
    else this.end(128 + number);
  }

  /** Ends it with an exit code; its output so far can still be read. */
  end(exitCode: number): void {
    if (this.state === "exited") return;
    this.state = "exited";
    this.exitCode = exitCode;
    this.paused = false;
    this.#thaw();
    this.stdin.break();
    this.stdout.end();
    this.stderr.end();
    this.#killed.abort();
    this.#settle(exitCode);
  }

  async #run(program: FakeProgram): Promise<void> {
    const context = this.#context();
    try {
      const exitCode = (await program(context)) & 0xff;
      await this.#whenThawed();
      this.end(exitCode);
    } catch (error) {
      await context.writeErr(`${messageOf(error)}\n`).catch(() => {}); // it may have been killed
      await this.#whenThawed();
      this.end(1);
    }
  }

  async #whenThawed(): Promise<void> {
    while (this.paused) await this.#thawed; // it may be paused again before this goes on
  }

  #context(): FakeProcessContext {
    const { args, env } = this.spec;
    return {
      args,
      env: Object.fromEntries(env.map((each) => [each.split("=", 1)[0] ?? "", each.slice(each.indexOf("=") + 1)])),
      stdin: this.#input(),
      write: this.#output(this.stdout),
      writeErr: this.#output(this.stderr),
      terminal: () => this.#size,
      memory: this.memory,
      signal: this.#killed.signal,
      trap: (signal, handler) => void this.#traps.set(signal, handler),
    };
  }

  async *#input(): AsyncGenerator<Uint8Array> {
    for (;;) {
      const chunk = await this.stdin.read(CHUNK, this.#killed.signal);
      await this.#whenThawed();
      if (chunk.length === 0) return;
      yield chunk;
    }
  }

  #output(pipe: BytePipe): (data: string | Uint8Array) => Promise<void> {
    const order = new Mutex(); // a long write is not to be torn by the next
    return (data) =>
      order.run(async () => {
        let rest = typeof data === "string" ? Buffer.from(data) : data;
        while (rest.length > 0) {
          await this.#whenThawed();
          const taken = await pipe.write(rest, this.#killed.signal);
          if (taken === 0) throw new Error("the process has ended");
          rest = rest.subarray(taken);
        }
      });
  }
}
