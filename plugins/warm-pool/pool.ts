import { type Call, type Logger, messageOf, throwIfAborted, type VmGrant, type VmIntent } from "tapvisor/plugin";
import { ownDirectory } from "./places.ts";
import { type Budget, Refill } from "./refill.ts";
import type { Host } from "./rehearse.ts";
import { sweepDead } from "./sweep-dead.ts";
import { type Wanted, wantedOf } from "./wanted.ts";
import { releaseWarm, startWarm, type WarmVm, wake } from "./warm-vm.ts";

/** How long a VM gets to start that nobody waits for, ms; 2 s are usual under emulation. */
const START_MS = 60_000;
/** How long a VM that nobody has gets to end, ms: a second try fits into what a plugin has to close. */
const RELEASE_MS = 4_000;
/** How many starts an acquisition pays for, for each VM that waits: those that die while they wait are replaced, but not for ever. */
const STARTS = 2;

export interface PoolOptions {
  readonly host: Host;
  readonly size: number;
  readonly stateDirectory: string;
  readonly log: Logger;
}

/** The VMs that wait, all for the intent that was wanted last. They are started one at a time, while no sandbox comes up. */
export class Pool {
  readonly #options: PoolOptions;
  readonly #waiting: WarmVm[] = [];
  /** Sandboxes whose VM is being acquired, or whose guest is not ready yet, with the nonce of that VM. */
  readonly #comingUp = new Map<string, string>();
  /** VMs that could not be given back: tried again when the engine closes, and by `gc`. */
  readonly #left = new Set<VmIntent>();
  readonly #work = new Set<Promise<unknown>>();
  #directory: Promise<string> | undefined;
  #wanted: Wanted | undefined;
  #refill: Refill | undefined;
  #budget: Budget = { starts: 0 };
  #closed = false;

  constructor(options: PoolOptions) {
    this.#options = options;
  }

  /** From here on a sandbox needs what the host has: nothing is started for later. */
  comesUp({ sandbox, nonce }: VmIntent): void {
    this.#comingUp.set(sandbox, nonce);
  }

  /** A sandbox has come up, or its VM, this one if a nonce is given, has gone. */
  isUp(sandbox: string, nonce?: string): void {
    if (nonce !== undefined && this.#comingUp.get(sandbox) !== nonce) return;
    if (this.#comingUp.delete(sandbox)) this.#fill();
  }

  /** A VM that waited, running, which is the caller's from now on; `undefined` when there is none. @throws ABORTED. */
  async take(wanted: Wanted, call: Call): Promise<WarmVm | undefined> {
    this.#want(wanted);
    for (;;) {
      const vm = this.#shift(wanted.kind) ?? (await this.#refilled(wanted.kind, call.signal));
      if (!vm) return undefined;
      if (await wake(this.#options.host.hypervisor, vm, call)) return vm;
      this.discard(vm);
      throwIfAborted(call.signal, "the start of a VM");
    }
  }

  /** Gives back a VM that nobody will have, in the background. */
  discard({ intent, grant }: WarmVm): void {
    this.#run(this.#giveBack(intent, grant));
  }

  /** Gives back what the pools of dead processes have left, in the background. */
  sweep(): void {
    const { stateDirectory, host, log } = this.#options;
    const call = { signal: AbortSignal.timeout(RELEASE_MS), log };
    this.#run(
      sweepDead(stateDirectory, async () => host.hypervisor, call).catch((error) =>
        log.error({ reason: messageOf(error) }, "cannot sweep"),
      ),
    );
  }

  /** Tries once more to give back what could not be. */
  async tryAgain(): Promise<void> {
    await Promise.all([...this.#left].map((intent) => this.#giveBack(intent, undefined)));
  }

  /** Ends every VM that waits or is being started; nothing waits any more. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#refill?.control.abort(new Error("the engine closes"));
    for (const vm of this.#waiting.splice(0)) this.discard(vm);
    while (this.#work.size > 0) await Promise.allSettled(this.#work);
    await this.tryAgain();
  }

  #want(wanted: Wanted): void {
    this.#budget = { starts: STARTS * this.#options.size };
    this.#wanted = wanted;
    if (this.#refill && this.#refill.kind !== wanted.kind) this.#refill.control.abort(new Error("another kind of VM is wanted"));
    for (const vm of this.#waiting.filter(({ kind }) => kind !== wanted.kind)) this.#drop(vm);
  }

  async #refilled(kind: string, signal: AbortSignal): Promise<WarmVm | undefined> {
    return this.#refill?.kind === kind ? this.#refill.join(signal) : undefined;
  }

  #shift(kind: string): WarmVm | undefined {
    const at = this.#waiting.findIndex((vm) => vm.kind === kind);
    return at < 0 ? undefined : this.#waiting.splice(at, 1)[0];
  }

  /** Starts a VM if one is missing and may be started now, and so on until none is. */
  #fill(): void {
    const wanted = this.#wanted;
    const mayNow = !this.#closed && !this.#refill && this.#comingUp.size === 0 && this.#budget.starts > 0;
    if (!mayNow || !wanted || this.#waiting.length >= this.#options.size) return;
    const budget = this.#budget;
    budget.starts -= 1;
    const refill = new Refill(wanted.kind, budget);
    this.#refill = refill;
    this.#run(
      this.#start(wanted, refill).finally(() => {
        this.#refill = undefined;
        refill.deliver(undefined);
        this.#fill();
      }),
    );
  }

  async #start(wanted: Wanted, refill: Refill): Promise<void> {
    const { host, log, stateDirectory } = this.#options;
    const { signal } = refill.control;
    try {
      this.#directory ??= ownDirectory(stateDirectory);
      const call = { signal: AbortSignal.any([signal, AbortSignal.timeout(START_MS)]), log };
      const vm = await startWarm(host, wanted, await this.#directory, {
        call,
        isAwaited: () => refill.isAwaited,
        giveBack: (intent) => this.#giveBack(intent, undefined),
      });
      const now = await wantedOf(wanted.intent);
      if (now?.kind !== wanted.kind) refill.budget.starts = 0; // the template has been removed or built anew meanwhile
      if (now?.kind !== wanted.kind || signal.aborted) return this.discard(vm);
      log.debug({ vm: vm.intent.sandbox }, "a VM waits");
      if (!refill.deliver(vm)) this.#keep(vm);
    } catch (error) {
      if (signal.aborted) return;
      refill.budget.starts = 0;
      log.warn({ reason: messageOf(error) }, "cannot start a VM that would wait: tried again with the next sandbox");
    }
  }

  #keep(vm: WarmVm): void {
    this.#waiting.push(vm);
    void vm.exited.then(() => {
      if (!this.#drop(vm)) return;
      this.#options.log.warn({ vm: vm.intent.sandbox }, "a VM that waited has ended");
      this.#fill();
    });
  }

  #drop(vm: WarmVm): boolean {
    const at = this.#waiting.indexOf(vm);
    if (at < 0) return false;
    this.#waiting.splice(at, 1);
    this.discard(vm);
    return true;
  }

  async #giveBack(intent: VmIntent, grant: VmGrant | undefined): Promise<void> {
    const { host, log } = this.#options;
    try {
      await releaseWarm(host.hypervisor, intent, grant, { signal: AbortSignal.timeout(RELEASE_MS), log });
      this.#left.delete(intent);
    } catch (error) {
      this.#left.add(intent);
      log.error({ vm: intent.sandbox, runDirectory: intent.runDirectory, reason: messageOf(error) }, "a VM that waited is left");
    }
  }

  #run(work: Promise<unknown>): void {
    this.#work.add(work);
    void work.finally(() => this.#work.delete(work));
  }
}
