import { withDeadline } from "../base/deadline.ts";
import { TapvisorError } from "../base/errors.ts";
import { DEADLINES } from "../config/defaults.ts";
import type { ExecOptions } from "../config/exec-config.ts";
import type { TtySize } from "../config/process-config.ts";
import type { ResourceConfig, UpdateOptions } from "../config/resources-config.ts";
import type { GuestProcessInfo } from "../contracts/agent.ts";
import type { ContainerStats } from "../contracts/stats.ts";
import type { SandboxContext } from "../engine/context.ts";
import type { State } from "../engine/states.ts";
import { announce } from "../plan/announce.ts";
import { requireSandbox } from "../sandbox/state.ts";
import type { StopOptions } from "../sandbox/stop.ts";
import { deleteContainer } from "./delete.ts";
import { Exec } from "./exec.ts";
import { ContainerFiles } from "./files/container-files.ts";
import { type GuestProcess, LONGEST_WAIT, type ProcessEnd } from "./guest-process.ts";
import type { InputStream } from "./input-stream.ts";
import type { OutputStream } from "./output-stream.ts";
import { pauseContainer, resumeContainer } from "./pause.ts";
import { listProcesses } from "./processes.ts";
import { resizeTty } from "./resize-tty.ts";
import { signalNumber } from "./signals.ts";
import { startContainer } from "./start.ts";
import { containerRecord, requireContainer } from "./state.ts";
import { readStats, type TimedStats, watchStats } from "./stats.ts";
import { stopContainer } from "./stop.ts";
import { updateContainer } from "./update.ts";

export interface Cancellable {
  readonly signal?: AbortSignal;
}

export interface ContainerStatus {
  readonly id: string;
  readonly sandbox: string;
  readonly state: State;
  readonly created: string;
  /** Set when the container's process has ended. */
  readonly exitCode?: number;
  /** The kernel's out-of-memory killer has struck in it. */
  readonly oomKilled?: boolean;
  readonly resources: ResourceConfig;
  readonly command: readonly string[];
  /** Its process has a terminal. */
  readonly tty: boolean;
  readonly annotations: Readonly<Record<string, string>>;
}

/**
 * An OCI container inside a sandbox's VM.
 *
 * @example
 * await using web = await sandbox.run({ rootfs: "./rootfs", command: ["uname", "-r"] });
 * console.log(await web.stdout.text(), (await web.wait()).exitCode);
 */
export class Container implements AsyncDisposable {
  readonly id: string;
  /** Its files: read, write, list, watch, and whole directories to and from the host. */
  readonly files: ContainerFiles;
  readonly #sb: SandboxContext;

  constructor(sb: SandboxContext, id: string) {
    this.#sb = sb;
    this.id = id;
    this.files = new ContainerFiles(sb, id);
  }

  /** `ready`, `running`, `paused`, `stopped` or `failed`. @throws NOT_FOUND when it has been deleted. */
  get state(): State {
    return containerRecord(this.#sb, this.id).state;
  }

  /** Starts the process, at most 30 s. @throws COMMAND_NOT_FOUND, COMMAND_NOT_EXECUTABLE, INVALID_STATE, AGENT_LOST. */
  start(options: Cancellable = {}): Promise<void> {
    return startContainer(this.#sb, this.id, options.signal);
  }

  /** Ends the process: SIGTERM, after `timeoutMs` (10 s) SIGKILL to all of it. Stopped or deleted already is success. */
  async stop(options: StopOptions = {}): Promise<void> {
    if (Object.hasOwn(this.#sb.journal.record.containers, this.id)) await announce(this.#sb, { stop: this.id });
    return stopContainer(this.#sb, this.id, options);
  }

  /** Sends a signal to the process, or with `all` to every process of the container. One that has ended or been deleted is success. */
  async kill(signal: NodeJS.Signals | number = "SIGTERM", options: Cancellable & { readonly all?: boolean } = {}): Promise<void> {
    const number = signalNumber(signal);
    const { containers } = this.#sb.journal.record;
    if (!Object.hasOwn(containers, this.id) || this.state === "stopped") return;
    requireSandbox(this.#sb, "signal the container", "ready", "running");
    requireContainer(this.#sb, this.id, "signal the container", "ready", "running", "paused");
    const wait = { what: `the signal to container "${this.id}"`, timeoutMs: DEADLINES.agent, signal: options.signal };
    await withDeadline(wait, (inner) =>
      this.#sb.guest.client.signalProcess({ container: this.id, exec: this.id }, number, options.all ?? false, {
        signal: inner,
        log: this.#sb.log,
      }),
    );
  }

  /**
   * Resolves when the process has ended, with its exit code as a shell reports it (128 + n for signal n). Waits without a deadline unless
   * `timeoutMs` gives one. Read or drop the output of a process that writes much: it blocks when nobody does.
   */
  async wait(options: Cancellable & { readonly timeoutMs?: number } = {}): Promise<ProcessEnd> {
    const { exitCode, oomKilled } = containerRecord(this.#sb, this.id);
    if (exitCode !== undefined) return { exitCode, ...(oomKilled && { oomKilled }) };
    const { exited } = this.#process("wait for the container");
    const what = `container "${this.id}" to end`;
    return withDeadline({ what, timeoutMs: options.timeoutMs ?? LONGEST_WAIT, signal: options.signal }, () => exited);
  }

  /**
   * Runs a further process in the container, which has to run. It starts at once; await the handle for its result, or use its streams.
   * @throws INVALID_INPUT at once; what else can go wrong comes from the handle.
   *
   * @example
   * const { exitCode, stdout } = await web.exec(["cat", "/etc/hostname"]);
   * const { stdout: sum } = await web.exec(["sha256sum"], { input: "text" });
   */
  exec(argv: readonly string[], options: ExecOptions = {}): Exec {
    return new Exec(this.#sb, this.id, argv, options);
  }

  /** The processes that run in it now, its own first. @throws INVALID_STATE unless it runs or is paused, AGENT_LOST. */
  processes(options: Cancellable = {}): Promise<readonly GuestProcessInfo[]> {
    return listProcesses(this.#sb, this.id, options.signal);
  }

  /** Tells its terminal how large the window is now. @throws AGENT_FAILED when it was created without `tty`. */
  resizeTty(size: TtySize, options: Cancellable = {}): Promise<void> {
    return resizeTty(this.#sb, this.id, size, options.signal);
  }

  /**
   * Changes limits while the container is ready or running: a value sets a limit, `null` removes it, what is not named stays. The VM grows or shrinks with
   * it. All of it happens, in the VM, the guest and the ledger, or none: at most 20 s for each.
   * @throws INVALID_INPUT, INVALID_STATE, VM_LIMIT, HOST_LIMIT; AGENT_FAILED when memory in use cannot be taken away.
   *
   * @example
   * await web.update({ vcpus: 2, memory: "1GiB" });
   * await web.update({ memory: null });
   */
  async update(options: UpdateOptions, { signal }: Cancellable = {}): Promise<void> {
    await announce(this.#sb, { update: options, container: this.id });
    return updateContainer(this.#sb, this.id, options, signal);
  }

  /** Freezes all its processes. @throws INVALID_STATE when it does not run. */
  pause(options: Cancellable = {}): Promise<void> {
    return pauseContainer(this.#sb, this.id, options.signal);
  }

  resume(options: Cancellable = {}): Promise<void> {
    return resumeContainer(this.#sb, this.id, options.signal);
  }

  /** What it has used so far: CPU, memory, processes, block I/O. @throws INVALID_STATE, AGENT_LOST. */
  stats(options: Cancellable = {}): Promise<ContainerStats> {
    return readStats(this.#sb, this.id, options.signal);
  }

  /**
   * Readings every `intervalMs` (1 s), the last one when it has ended.
   *
   * @example
   * for await (const { memory } of web.watchStats()) console.log(memory.usage.bytes);
   */
  watchStats(options: Cancellable & { readonly intervalMs?: number } = {}): AsyncGenerator<TimedStats, void, undefined> {
    return watchStats(this.#sb, this.id, options);
  }

  /** The process's input; `end()` closes it. */
  get stdin(): InputStream {
    return this.#process("write to the container").stdin;
  }

  /** The process's output, readable also after its end, until the container is deleted or started again. */
  get stdout(): OutputStream {
    return this.#process("read from the container").stdout;
  }

  get stderr(): OutputStream {
    return this.#process("read from the container").stderr;
  }

  status(): ContainerStatus {
    const { id, state, created, exitCode, oomKilled, config, annotations } = containerRecord(this.#sb, this.id);
    const ended = { ...(exitCode !== undefined && { exitCode }), ...(oomKilled && { oomKilled }) };
    const { command, resources, tty } = config;
    return { id, sandbox: this.#sb.id, state, created, ...ended, resources, command, tty, annotations: { ...annotations } };
  }

  /** Free text kept with the container. */
  get annotations(): Readonly<Record<string, string>> {
    return { ...containerRecord(this.#sb, this.id).annotations };
  }

  /** Removes a container that does not run. Deleted already is success. @throws INVALID_STATE, RELEASE_INCOMPLETE. */
  delete(options: Cancellable = {}): Promise<void> {
    return deleteContainer(this.#sb, this.id, options.signal);
  }

  /** Kills what runs and deletes it. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!Object.hasOwn(this.#sb.journal.record.containers, this.id)) return;
    if (this.state !== "failed") await this.stop({ force: true });
    await this.delete();
  }

  #process(verb: string): GuestProcess {
    const process = this.#sb.processes.get(this.id);
    if (process) return process;
    const { state } = containerRecord(this.#sb, this.id);
    throw new TapvisorError("INVALID_STATE", `Container not started here, impossible to ${verb}: ${this.id} is ${state}`, {
      data: { kind: "container", id: this.id, state, verb, allowed: ["running", "stopped"] },
    });
  }
}
