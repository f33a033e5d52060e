import type { WarmVm } from "./warm-vm.ts";

/** How long whoever needs a VM waits for one that is being started already, ms: no longer than starting another one takes. */
const JOIN_MS = 5_000;

/** What an acquisition pays for: a start that fails uses up that of its own acquisition, not of one that has come meanwhile. */
export interface Budget {
  starts: number;
}

/** A VM that is being started for later, until somebody needs it now. */
export class Refill {
  readonly kind: string;
  readonly budget: Budget;
  readonly control = new AbortController();
  #deliver: ((vm: WarmVm | undefined) => void) | undefined;

  constructor(kind: string, budget: Budget) {
    this.kind = kind;
    this.budget = budget;
  }

  get isAwaited(): boolean {
    return this.#deliver !== undefined;
  }

  /** The VM as soon as it is there, for the first who asks; `undefined` for others, when it fails, after 5 s, and when the signal fires. */
  join(signal: AbortSignal): Promise<WarmVm | undefined> {
    if (this.isAwaited || this.control.signal.aborted || signal.aborted) return Promise.resolve(undefined);
    return new Promise((resolve) => {
      const giveUp = () => this.deliver(undefined);
      const timer = setTimeout(giveUp, JOIN_MS);
      signal.addEventListener("abort", giveUp, { once: true });
      this.#deliver = (vm) => {
        clearTimeout(timer);
        signal.removeEventListener("abort", giveUp);
        resolve(vm);
      };
    });
  }

  /** Gives what came of it to whoever waits; `false` when nobody does. */
  deliver(vm: WarmVm | undefined): boolean {
    const deliver = this.#deliver;
    this.#deliver = undefined;
    deliver?.(vm);
    return deliver !== undefined;
  }
}
