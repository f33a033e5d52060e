import { constants } from "node:os";
import { isTapvisorError } from "../../base/errors.ts";
import { MiB } from "../../base/units.ts";
import type { GuestContainer, GuestProcessId, GuestProcessInfo, GuestResources, GuestStorage } from "../../contracts/agent.ts";
import type { GuestSandboxOptions } from "../../contracts/agent-system.ts";
import type { GuestDisk } from "../../contracts/hypervisor.ts";
import type { OciProcess, OciResources } from "../../contracts/oci.ts";
import type { ContainerStats } from "../../contracts/stats.ts";
import { unlessAborted } from "./aborting.ts";
import { agentError } from "./agent-error.ts";
import { FakeContainer } from "./container.ts";
import { checkDevices, diskAt, nodeOf } from "./disks.ts";
import { FakeIdentity } from "./identity.ts";
import { changedLimits, checkLimits } from "./limits.ts";
import { checkMounts, diskOf, existsInGuest, type Plugged } from "./mounts.ts";
import { FakeNetwork } from "./network.ts";
import type { FakeProcess, TerminalSize } from "./process.ts";
import { type FakePrograms, runnable } from "./programs.ts";
import { processInfo, statsOf } from "./stats.ts";
import { FakeSystem } from "./system.ts";
import { FakeVcpus } from "./vcpus.ts";

export interface FakeGuestSandbox extends GuestSandboxOptions {
  readonly sandbox: string;
  readonly hostname: string;
  readonly storages: readonly GuestStorage[];
}

/** What the guest's kernel keeps of the memory for itself. */
const KERNEL_BYTES = 16 * MiB;

/** What runs inside one VM of the fake world: the agent's side of its verbs, refusing what Kata's agent refuses. */
export class FakeGuest {
  sandbox: FakeGuestSandbox | undefined;
  /** Memory that is in use, bytes: so much of it cannot be taken out. */
  usedBytes = 0;
  readonly containers = new Map<string, FakeContainer>();
  readonly vcpus: FakeVcpus;
  readonly network = new FakeNetwork();
  readonly system = new FakeSystem();
  readonly identity = new FakeIdentity();
  readonly #vm: Plugged;
  readonly #programs: FakePrograms;

  constructor(vm: Plugged, programs: FakePrograms) {
    this.#vm = vm;
    this.#programs = programs;
    this.vcpus = new FakeVcpus(vm.size);
  }

  createSandbox(request: FakeGuestSandbox): void {
    if (this.sandbox) throw agentError("CreateSandbox", "ALREADY_EXISTS", "the sandbox has been started");
    checkMounts(this.#vm, [], request.storages);
    this.system.checkSandbox(request);
    this.sandbox = request;
  }

  /** Its container has come and gone when this returns. @throws AGENT_FAILED ALREADY_EXISTS when there is a sandbox. */
  warmUp(): void {
    if (this.sandbox) throw agentError("CreateSandbox", "ALREADY_EXISTS", "the sandbox has been started");
    this.identity.warmUps += 1;
  }

  /** @throws AGENT_FAILED FAILED_PRECONDITION when there is a sandbox. */
  prepareToBeSaved(): void {
    if (this.sandbox) throw agentError("PrepareToBeSaved", "FAILED_PRECONDITION", "the sandbox has been started");
    this.identity.prepared = true;
  }

  /** Ends everything; without a sandbox there is nothing to end. */
  destroySandbox(): void {
    for (const id of this.containers.keys()) this.removeContainer(id);
    this.system.end();
    this.sandbox = undefined;
  }

  createContainer(request: GuestContainer): void {
    const { container, spec, storages, devices = [] } = request;
    const refuse = (status: string, reason: string) => agentError("CreateContainer", status, reason);
    if (!this.sandbox) throw refuse("FAILED_PRECONDITION", "the sandbox has not been started");
    if (this.containers.has(container)) throw refuse("ALREADY_EXISTS", `there is a container ${container}`);
    if (spec.process.args.length === 0) throw refuse("INVALID_ARGUMENT", "no command");
    if (spec.linux.namespaces.some(({ type, path }) => type === "pid" && path !== undefined)) {
      throw refuse("FAILED_PRECONDITION", "a PID namespace of the host cannot be joined");
    }
    checkMounts(this.#vm, this.#mounted(), storages);
    const mounted = [...this.#mounted(), ...storages];
    const binds = spec.mounts.filter(({ type }) => type === "bind").map(({ source }) => source);
    for (const path of [spec.root.path, ...binds]) {
      if (!existsInGuest(this.#vm, mounted, path) && !this.system.files.has(path))
        throw refuse("INTERNAL", `${path} does not exist in the guest`);
    }
    checkDevices(this.#vm.disks, devices);
    if (spec.linux.resources) checkLimits("CreateContainer", spec.linux.resources);
    this.containers.set(container, new FakeContainer(request));
  }

  /** @throws COMMAND_NOT_FOUND, COMMAND_NOT_EXECUTABLE; the container has ended then, as a shell reports it. */
  startContainer(id: string): void {
    const { process, request } = this.#container("StartContainer", id);
    if (process.state !== "created")
      throw agentError("StartContainer", "FAILED_PRECONDITION", `the container is ${process.state}, wanted created`);
    try {
      process.start(runnable(this.#programs, request.spec.process, `container "${id}"`));
    } catch (error) {
      process.end(isTapvisorError(error) && error.code === "COMMAND_NOT_EXECUTABLE" ? 126 : 127);
      throw error;
    }
  }

  /** @throws COMMAND_NOT_FOUND, COMMAND_NOT_EXECUTABLE, AGENT_FAILED; there is no such process then. */
  execProcess({ container: id, exec }: GuestProcessId, spec: OciProcess): void {
    const container = this.#container("ExecProcess", id);
    this.#inState("ExecProcess", id, "running");
    if (exec === id || container.execs.has(exec)) throw agentError("ExecProcess", "ALREADY_EXISTS", `there is a process ${exec}`);
    if (spec.args.length === 0) throw agentError("ExecProcess", "INVALID_ARGUMENT", "no command");
    const program = runnable(this.#programs, spec, `process "${exec}" of container "${id}"`);
    container.addExec(exec, spec).start(program);
  }

  /** @throws AGENT_FAILED FAILED_PRECONDITION when the process has no terminal or has not been started. */
  resizeTty(id: GuestProcessId, size: TerminalSize): void {
    const refuse = (status: string, reason: string) => agentError("TtyWinResize", status, reason);
    const process = this.process("TtyWinResize", id);
    const { rows, columns } = size;
    for (const each of [rows, columns]) {
      if (!(Number.isInteger(each) && each >= 1 && each <= 65_535)) throw refuse("INVALID_ARGUMENT", `${rows} rows and ${columns} columns`);
    }
    if (!process.size) throw refuse("FAILED_PRECONDITION", "the process has no terminal");
    if (process.state === "created") throw refuse("FAILED_PRECONDITION", "the process is created, wanted running");
    process.resize(size);
  }

  listProcesses(id: string): readonly GuestProcessInfo[] {
    return this.#container("ListProcesses", id).running.map(processInfo);
  }

  removeContainer(id: string): void {
    const container = this.containers.get(id);
    container?.process.end(128 + constants.signals.SIGKILL);
    container?.endExecs();
    this.containers.delete(id);
  }

  /** The exit code, when the process has ended. @throws AGENT_FAILED NOT_FOUND. */
  waitProcess(id: GuestProcessId, signal: AbortSignal): Promise<number> {
    return unlessAborted(signal, `the end of container ${id.container}`, this.process("WaitProcess", id).exited);
  }

  /** A process that can be read and written. @throws AGENT_FAILED NOT_FOUND. */
  process(method: string, { container, exec }: GuestProcessId): FakeProcess {
    const { process, execs } = this.#container(method, container);
    const found = exec === container ? process : execs.get(exec);
    if (found) return found;
    throw agentError(method, "NOT_FOUND", `container ${container} has no process ${exec}`);
  }

  /** No more goes into a process; a terminal stays open, and one that is gone needs no end. */
  closeStdin({ container, exec }: GuestProcessId): void {
    const found = this.containers.get(container);
    const process = exec === container ? found?.process : found?.execs.get(exec);
    if (!process?.size) process?.stdin.end();
  }

  /** Delivers a signal to one process, or to all of the container; what has gone has had it. */
  signalProcess({ container, exec }: GuestProcessId, signal: number, all: boolean): void {
    if (!Number.isInteger(signal) || signal < 1 || signal > 64)
      throw agentError("SignalProcess", "INVALID_ARGUMENT", `no signal ${signal}`);
    const found = this.containers.get(container);
    if (all || exec === "") for (const process of found?.running ?? []) process.signal(signal);
    else (exec === container ? found?.process : found?.execs.get(exec))?.signal(signal);
  }

  pauseContainer(id: string): void {
    for (const process of this.#inState("PauseContainer", id, "running").running) process.pause();
  }

  resumeContainer(id: string): void {
    for (const process of this.#inState("ResumeContainer", id, "paused").running) process.resume();
  }

  /** All that is present is set, or nothing; the rules for devices stay those of the creation. */
  updateContainer(id: string, resources: OciResources): void {
    const container = this.#container("UpdateContainer", id);
    const limits = changedLimits(container.limits, resources);
    checkLimits("UpdateContainer", limits);
    const used = statsOf(container).memory.usage.bytes;
    const { limit = -1 } = resources.memory ?? {};
    if (limit >= 0 && limit < used) {
      throw agentError("UpdateContainer", "FAILED_PRECONDITION", `the container uses ${used} bytes, more than ${limit}`);
    }
    container.limits = limits;
  }

  /** Memory runs out in a container: the kernel ends its process. */
  oomKill(id: string): void {
    const container = this.#container("oomKill", id);
    container.oomKills++;
    container.process.end(128 + constants.signals.SIGKILL);
    this.system.tellOom(id);
  }

  /** @throws AGENT_FAILED FAILED_PRECONDITION without a sandbox, NOT_FOUND when it goes. */
  nextOom(signal: AbortSignal): Promise<string> {
    if (!this.sandbox) throw agentError("GetOOMEvent", "FAILED_PRECONDITION", "the sandbox has not been started");
    return this.system.nextOom(signal);
  }

  statsContainer(id: string): ContainerStats {
    const container = this.#container("StatsContainer", id);
    container.tick();
    return structuredClone(statsOf(container));
  }

  resources(): GuestResources {
    const memoryBytes = Math.max(0, this.#vm.size.memoryBytes - KERNEL_BYTES);
    return { onlineVcpus: this.vcpus.online, memoryBytes, availableBytes: Math.max(0, memoryBytes - this.usedBytes) };
  }

  /** What a disk is here. @throws AGENT_FAILED DEADLINE_EXCEEDED, at once: what is plugged into a fake VM need not be waited for. */
  findDisk(disk: GuestDisk): { readonly node: string; readonly bytes: number } {
    const found = diskAt(this.#vm.disks, disk);
    if (found) return { node: nodeOf(this.#vm.disks, found), bytes: found.bytes };
    throw agentError("FindDisk", "DEADLINE_EXCEEDED", `no ${disk.driver} disk at ${disk.address} appears`);
  }

  /** @throws AGENT_FAILED FAILED_PRECONDITION when it is in use. */
  releaseDisk({ driver, address }: GuestDisk): void {
    const isIt = (disk: GuestDisk | undefined) => disk?.driver === driver && disk.address === address;
    const users = [...this.containers.values()].filter(
      ({ request: { storages, devices = [] } }) => storages.some((each) => isIt(diskOf(each))) || devices.some((each) => isIt(each.disk)),
    );
    const [user] = users.map(({ request }) => `container ${request.container}`);
    const holder = user ?? (this.sandbox?.storages.some((each) => isIt(diskOf(each))) ? "the sandbox" : undefined);
    if (holder) throw agentError("ReleaseDisk", "FAILED_PRECONDITION", `${holder} uses the ${driver} disk at ${address}`);
  }

  #inState(method: string, id: string, wanted: "running" | "paused"): FakeContainer {
    const container = this.#container(method, id);
    const { process } = container;
    const state = process.paused ? "paused" : process.state;
    if (state === wanted) return container;
    throw agentError(method, "FAILED_PRECONDITION", `the container is ${state}, wanted ${wanted}`);
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
