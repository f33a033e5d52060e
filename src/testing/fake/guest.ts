import { constants } from "node:os";
import { TapvisorError } from "../../base/errors.ts";
import type { GuestContainer, GuestProcessId, GuestStorage } from "../../contracts/agent.ts";
import { unlessAborted } from "./aborting.ts";
import { agentError } from "./agent-error.ts";
import { checkMounts, existsInGuest, type Shares } from "./mounts.ts";
import { FakeProcess } from "./process.ts";
import { type FakePrograms, findProgram } from "./programs.ts";

export interface FakeContainer {
  readonly request: GuestContainer;
  /** The container's own process. */
  readonly process: FakeProcess;
}

export interface FakeGuestSandbox {
  readonly sandbox: string;
  readonly hostname: string;
  readonly storages: readonly GuestStorage[];
}

/** What runs inside one VM of the fake world: the agent's side of its verbs, refusing what Kata's agent refuses. */
export class FakeGuest {
  sandbox: FakeGuestSandbox | undefined;
  readonly containers = new Map<string, FakeContainer>();
  readonly #shares: Shares;
  readonly #programs: FakePrograms;

  constructor(shares: Shares, programs: FakePrograms) {
    this.#shares = shares;
    this.#programs = programs;
  }

  createSandbox(request: FakeGuestSandbox): void {
    if (this.sandbox) throw agentError("CreateSandbox", "ALREADY_EXISTS", "the sandbox has been started");
    checkMounts(this.#shares, [], request.storages);
    this.sandbox = request;
  }

  /** Ends everything; without a sandbox there is nothing to end. */
  destroySandbox(): void {
    for (const id of this.containers.keys()) this.removeContainer(id);
    this.sandbox = undefined;
  }

  createContainer(request: GuestContainer): void {
    const { container, spec, storages } = request;
    const refuse = (status: string, reason: string) => agentError("CreateContainer", status, reason);
    if (!this.sandbox) throw refuse("FAILED_PRECONDITION", "the sandbox has not been started");
    if (this.containers.has(container)) throw refuse("ALREADY_EXISTS", `there is a container ${container}`);
    if (spec.process.args.length === 0) throw refuse("INVALID_ARGUMENT", "no command");
    if (spec.linux.namespaces.some(({ type, path }) => type === "pid" && path !== undefined)) {
      throw refuse("FAILED_PRECONDITION", "a PID namespace of the host cannot be joined");
    }
    checkMounts(this.#shares, this.#mounted(), storages);
    const mounted = [...this.#mounted(), ...storages];
    const binds = spec.mounts.filter(({ type }) => type === "bind").map(({ source }) => source);
    for (const path of [spec.root.path, ...binds]) {
      if (!existsInGuest(this.#shares, mounted, path)) throw refuse("INTERNAL", `${path} does not exist in the guest`);
    }
    this.containers.set(container, { request, process: new FakeProcess(spec.process) });
  }

  /** @throws COMMAND_NOT_FOUND, COMMAND_NOT_EXECUTABLE; the container has ended then, as a shell reports it. */
  startContainer(id: string): void {
    const { process, request } = this.#container("StartContainer", id);
    if (process.state !== "created")
      throw agentError("StartContainer", "FAILED_PRECONDITION", `the container is ${process.state}, wanted created`);
    const command = request.spec.process.args[0] ?? "";
    const program = findProgram(this.#programs, command);
    if (program === undefined) {
      process.end(127);
      throw new TapvisorError("COMMAND_NOT_FOUND", `Cannot run "${command}" in container "${id}": it does not exist there`, {
        data: { command, exitCode: 127 },
        hint: "add it to world.programs",
      });
    }
    if (program === "not-executable") {
      process.end(126);
      throw new TapvisorError("COMMAND_NOT_EXECUTABLE", `Cannot run "${command}" in container "${id}": it cannot be executed`, {
        data: { command, exitCode: 126 },
      });
    }
    process.start(program);
  }

  removeContainer(id: string): void {
    this.containers.get(id)?.process.end(128 + constants.signals.SIGKILL);
    this.containers.delete(id);
  }

  /** The exit code, when the process has ended. @throws AGENT_FAILED NOT_FOUND. */
  waitProcess(id: GuestProcessId, signal: AbortSignal): Promise<number> {
    return unlessAborted(signal, `the end of container ${id.container}`, this.process("WaitProcess", id).exited);
  }

  /** A process that can be read and written. @throws AGENT_FAILED NOT_FOUND. */
  process(method: string, { container, exec }: GuestProcessId): FakeProcess {
    const { process } = this.#container(method, container);
    if (exec !== container) throw agentError(method, "NOT_FOUND", `container ${container} has no process ${exec}`);
    return process;
  }

  /** Delivers a signal to one process, or to all of the container; what has gone has had it. */
  signalProcess({ container, exec }: GuestProcessId, signal: number, all: boolean): void {
    if (!Number.isInteger(signal) || signal < 1 || signal > 64)
      throw agentError("SignalProcess", "INVALID_ARGUMENT", `no signal ${signal}`);
    const process = this.containers.get(container)?.process;
    if (all || exec === "" || exec === container) process?.signal(signal);
  }

  #container(method: string, id: string): FakeContainer {
    const found = this.containers.get(id);
    if (found) return found;
    throw agentError(method, "NOT_FOUND", `no container ${id}`);
  }

  #mounted(): readonly GuestStorage[] {
    return [...(this.sandbox?.storages ?? []), ...[...this.containers.values()].flatMap(({ request }) => request.storages)];
  }
}
