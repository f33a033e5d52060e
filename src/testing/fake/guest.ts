import { constants } from "node:os";
import { TapvisorError } from "../../base/errors.ts";
import { MiB } from "../../base/units.ts";
import type { GuestContainer, GuestProcessId, GuestResources, GuestStorage } from "../../contracts/agent.ts";
import type { GuestSandboxOptions } from "../../contracts/agent-system.ts";
import type { GuestDisk } from "../../contracts/hypervisor.ts";
import type { OciResources } from "../../contracts/oci.ts";
import type { ContainerStats } from "../../contracts/stats.ts";
import { unlessAborted } from "./aborting.ts";
import { agentError } from "./agent-error.ts";
import { FakeContainer } from "./container.ts";
import { checkDevices, diskAt, nodeOf } from "./disks.ts";
import { changedLimits, checkLimits } from "./limits.ts";
import { checkMounts, diskOf, existsInGuest, type Plugged } from "./mounts.ts";
import { FakeNetwork } from "./network.ts";
import type { FakeProcess } from "./process.ts";
import { type FakePrograms, findProgram } from "./programs.ts";
import { statsOf } from "./stats.ts";
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

  pauseContainer(id: string): void {
    this.#inState("PauseContainer", id, "running").pause();
  }

  resumeContainer(id: string): void {
    this.#inState("ResumeContainer", id, "paused").resume();
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

  #inState(method: string, id: string, wanted: "running" | "paused"): FakeProcess {
    const { process } = this.#container(method, id);
    const state = process.paused ? "paused" : process.state;
    if (state === wanted) return process;
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
