import { randomUUID } from "node:crypto";
import { TapvisorError } from "../base/errors.ts";
import type { Json } from "../contracts/holding.ts";
import type { VmExit, VmIntent } from "../contracts/hypervisor.ts";
import type { ContainerStats } from "../contracts/stats.ts";
import { isAbort, throwIfSignalled } from "./fake/aborting.ts";
import type { FakeContainer } from "./fake/container.ts";
import { type FakeFault, FaultQueue, strike } from "./fake/faults.ts";
import type { FakeCall, FakeOperation, FakeSubject } from "./fake/operations.ts";
import { defaultPrograms, type FakePrograms } from "./fake/programs.ts";
import { type SavedVm, saveVm } from "./fake/saved.ts";
import { type FakeSnapshot, snapshotOf } from "./fake/snapshot.ts";
import { FakeVm } from "./fake/vm.ts";

const KILLED: VmExit = { exitCode: null, signal: "SIGKILL", expected: false };
const ASKED: VmExit = { exitCode: 0, signal: null, expected: true };

type LoggedCall = { -readonly [K in keyof FakeCall]: FakeCall[K] };

/**
 * A whole world in memory: VMs, what is plugged into them, the guests inside with their containers and processes. The plugins
 * `hypervisor-fake` and `agent-fake` act on it; a test looks at it, scripts its programs and makes it fail.
 *
 * @example
 * const world = new FakeWorld();
 * world.programs.server = async ({ signal, write }) => { await write("ready\n"); await onceAborted(signal); return 0; };
 * const before = world.snapshot();
 * world.failNext("agent.createContainer", { when: "after" });
 * // … run something that must roll back …
 * assert.deepEqual(world.snapshot(), before);
 */
export class FakeWorld {
  /** What a container's command is looked up in, by its first word; change it as you like. */
  readonly programs: FakePrograms = defaultPrograms();
  /** What the hypervisor's `fingerprint` says; another one makes every saved VM unusable. */
  fingerprint: Json = { hypervisor: "fake" };
  readonly #calls: LoggedCall[] = [];
  readonly #faults = new FaultQueue();
  readonly #vms = new Map<string, FakeVm>();
  readonly #saved = new Map<string, SavedVm>();

  /** Every call so far, in the order they came in. */
  get calls(): readonly FakeCall[] {
    return this.#calls;
  }

  /** The operations whose fault has not struck: not empty means that a test did not test what it says. */
  get unusedFaults(): readonly FakeOperation[] {
    return this.#faults.unused;
  }

  /** Makes the next call of an operation fail; calling it n times makes the next n fail. */
  failNext(operation: FakeOperation, fault: FakeFault): void {
    this.#faults.add(operation, fault);
  }

  /** Everything that is held, for comparison. */
  snapshot(): FakeSnapshot {
    return snapshotOf(this.#vms.values());
  }

  /** A sandbox's VM, running or ended and not yet released. */
  vm(sandbox: string): FakeVm | undefined {
    return this.#vms.get(sandbox);
  }

  /** Ends a VM as if its process had been killed. @throws NOT_FOUND. */
  killVm(sandbox: string): void {
    this.#existing(sandbox).end(KILLED);
  }

  /** Cuts the connections to a guest's agent; the guest goes on. @throws NOT_FOUND. */
  loseAgent(sandbox: string): void {
    this.#existing(sandbox).loseAgent("the connection was cut");
  }

  /** The guest takes no vCPU beyond `most`: growth stops there. @throws NOT_FOUND. */
  limitVcpus(sandbox: string, most: number): void {
    this.#existing(sandbox).size.vcpuBounds.most = most;
  }

  /** The guest keeps `least` vCPUs where a hypervisor unplugs them: a shrink stops there. @throws NOT_FOUND. */
  keepVcpus(sandbox: string, least: number): void {
    this.#existing(sandbox).size.vcpuBounds.least = least;
  }

  /** The guest takes no memory beyond `most` bytes: growth stops there. @throws NOT_FOUND. */
  limitMemory(sandbox: string, most: number): void {
    this.#existing(sandbox).size.memoryBounds.most = most;
  }

  /** The guest keeps `least` bytes of memory: a shrink stops there. @throws NOT_FOUND. */
  keepMemory(sandbox: string, least: number): void {
    this.#existing(sandbox).size.memoryBounds.least = least;
  }

  /** A container's process is ended for want of memory, as the guest's kernel does. @throws NOT_FOUND. */
  oomKill(sandbox: string, container: string): void {
    this.#container(sandbox, container).oomKill();
  }

  /** How much of its memory a guest has in use from now on, bytes. @throws NOT_FOUND. */
  useMemory(sandbox: string, bytes: number): void {
    this.#existing(sandbox).guest.usedBytes = bytes;
  }

  /** What a container's stats say from now on; the parts that are absent are made up. @throws NOT_FOUND. */
  setStats(sandbox: string, container: string, stats: Partial<ContainerStats>): void {
    this.#container(sandbox, container).stats = stats;
  }

  /** What the end of the script's process does to the world: VMs that are not detached die, connections are closed. */
  killScript(): void {
    for (const vm of this.#vms.values()) {
      vm.views.clear();
      if (vm.intent.detached) vm.loseAgent("the script has ended");
      else vm.end(KILLED);
    }
  }

  /** @throws VM_FAILED when the sandbox has a VM already: it was not released. */
  startVm(intent: VmIntent, saved?: SavedVm): FakeVm {
    if (this.#vms.has(intent.sandbox)) {
      throw new TapvisorError("VM_FAILED", `Cannot start the VM of sandbox "${intent.sandbox}": it has one already`, {
        data: { id: intent.sandbox },
      });
    }
    const vm = new FakeVm(intent, this.programs, saved);
    this.#vms.set(intent.sandbox, vm);
    return vm;
  }

  /** Keeps what a VM is now under a key that a file can hold: the file is the saved VM, for every engine on this world. */
  saveVm(sandbox: string, kind: SavedVm["kind"]): string {
    const key = randomUUID();
    this.#saved.set(key, saveVm(this.#existing(sandbox), kind));
    return key;
  }

  /** What was saved under a key. */
  savedVm(key: string): SavedVm | undefined {
    return this.#saved.get(key);
  }

  /** Ends and removes the VM with this nonce; none, or another's, is success. */
  releaseVm(sandbox: string, nonce: string): void {
    const vm = this.#vms.get(sandbox);
    if (vm?.intent.nonce !== nonce) return;
    vm.end(ASKED);
    this.#vms.delete(sandbox);
  }

  /**
   * Runs one operation of a fake backend: logs the call and lets a waiting fault strike. With `givenUp`, a call whose signal fires while it
   * runs gives that in place of an error.
   */
  async perform<T>(
    operation: FakeOperation,
    subject: FakeSubject,
    signal: AbortSignal,
    work: () => T | Promise<T>,
    givenUp?: () => T,
  ): Promise<T> {
    const call: LoggedCall = { operation, ...subject, outcome: "pending" };
    this.#calls.push(call);
    try {
      throwIfSignalled(signal, operation);
      const result = await this.#struck(operation, signal, work).catch((error: unknown) => {
        if (givenUp && isAbort(error, signal)) return givenUp();
        throw error;
      });
      call.outcome = "done";
      return result;
    } catch (error) {
      call.outcome = "failed";
      throw error;
    }
  }

  async #struck<T>(operation: FakeOperation, signal: AbortSignal, work: () => T | Promise<T>): Promise<T> {
    const fault = this.#faults.take(operation);
    if (fault?.when === "before") await strike(operation, fault, signal);
    const result = await work();
    if (fault?.when === "after") await strike(operation, fault, signal);
    return result;
  }

  #container(sandbox: string, id: string): FakeContainer {
    const { containers } = this.#existing(sandbox).guest;
    const container = containers.get(id);
    if (container) return container;
    const known = [...containers.keys()];
    throw new TapvisorError(
      "NOT_FOUND",
      `Cannot find container "${id}" of sandbox "${sandbox}" in the fake world: it has ${known.join(", ") || "none"}`,
      { data: { kind: "container", id, known } },
    );
  }

  #existing(sandbox: string): FakeVm {
    const vm = this.#vms.get(sandbox);
    if (vm) return vm;
    const known = [...this.#vms.keys()];
    throw new TapvisorError(
      "NOT_FOUND",
      `Cannot find the VM of sandbox "${sandbox}" in the fake world: it has ${known.join(", ") || "none"}`,
      {
        data: { kind: "vm", id: sandbox, known },
      },
    );
  }
}

let shared: FakeWorld | undefined;

/** The world of fakes that were given none: one for each process, so that `hypervisorFake()` and `agentFake()` meet. */
export function sharedFakeWorld(): FakeWorld {
  shared ??= new FakeWorld();
  return shared;
}
