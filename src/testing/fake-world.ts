import { TapvisorError } from "../base/errors.ts";
import type { VmExit, VmIntent } from "../contracts/hypervisor.ts";
import { throwIfSignalled } from "./fake/aborting.ts";
import { type FakeFault, FaultQueue, strike } from "./fake/faults.ts";
import type { FakeCall, FakeOperation, FakeSubject } from "./fake/operations.ts";
import { defaultPrograms, type FakePrograms } from "./fake/programs.ts";
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
  readonly #calls: LoggedCall[] = [];
  readonly #faults = new FaultQueue();
  readonly #vms = new Map<string, FakeVm>();

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

  /** What the end of the script's process does to the world: VMs that are not detached die, connections are closed. */
  killScript(): void {
    for (const vm of this.#vms.values()) {
      vm.views.clear();
      if (vm.intent.detached) vm.loseAgent("the script has ended");
      else vm.end(KILLED);
    }
  }

  /** @throws VM_FAILED when the sandbox has a VM already: it was not released. */
  startVm(intent: VmIntent): FakeVm {
    if (this.#vms.has(intent.sandbox)) {
      throw new TapvisorError("VM_FAILED", `Cannot start the VM of sandbox "${intent.sandbox}": it has one already`, {
        data: { id: intent.sandbox },
      });
    }
    const vm = new FakeVm(intent, this.programs);
    this.#vms.set(intent.sandbox, vm);
    return vm;
  }

  /** Ends and removes the VM with this nonce; none, or another's, is success. */
  releaseVm(sandbox: string, nonce: string): void {
    const vm = this.#vms.get(sandbox);
    if (vm?.intent.nonce !== nonce) return;
    vm.end(ASKED);
    this.#vms.delete(sandbox);
  }

  /** Runs one operation of a fake backend: logs the call and lets a waiting fault strike. */
  async perform<T>(operation: FakeOperation, subject: FakeSubject, signal: AbortSignal, work: () => T | Promise<T>): Promise<T> {
    const call: LoggedCall = { operation, ...subject, outcome: "pending" };
    this.#calls.push(call);
    try {
      throwIfSignalled(signal, operation);
      const fault = this.#faults.take(operation);
      if (fault?.when === "before") await strike(operation, fault, signal);
      const result = await work();
      if (fault?.when === "after") await strike(operation, fault, signal);
      call.outcome = "done";
      return result;
    } catch (error) {
      call.outcome = "failed";
      throw error;
    }
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
