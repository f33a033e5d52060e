import type { Plugin, StepEvent, StepProbe } from "tapvisor";
import { definePlugin, TapvisorError } from "tapvisor";
import { type WatchedBackends, watchedBackends } from "./watched-backends.ts";

/**
 * A named instant of an operation: `before <step>`, `after <step>`, `release <step>`; `before <call>` and `after <call>` of a backend's
 * call (`after hypervisor.vm.acquire`: it has taken effect, and the engine does not know yet); `hook <name>`.
 */
export type Moment = string;

/** The moments before and after each step. */
export function around(steps: readonly string[]): Moment[] {
  return steps.flatMap((step) => [`before ${step}`, `after ${step}`]);
}

const HOOKS = [
  "beforeHotplug",
  "afterAttach",
  "beforeCreate",
  "afterCreate",
  "beforeStart",
  "afterStart",
  "beforeStop",
  "afterStop",
  "beforeUpdate",
  "afterUpdate",
  "beforeDelete",
  "afterDelete",
] as const;

/** Does something at a chosen moment of an engine on real QEMU. */
export class Moments {
  readonly backends: WatchedBackends;
  readonly plugins: readonly Plugin[];
  readonly probe: StepProbe;
  readonly #armed = new Map<Moment, { readonly act: () => void | Promise<void>; struck: number }>();

  constructor() {
    const at = (moment: Moment) => this.#at(moment);
    this.backends = watchedBackends(({ call, when }) => at(`${when} ${call}`));
    this.probe = ({ phase, step }: StepEvent) => at(`${phase} ${step}`);
    const hooks = definePlugin("moments", (ctx) => {
      for (const name of HOOKS) {
        ctx.hooks[name].tapPromise(async (event: unknown) => {
          await at(`hook ${name}`);
          return event;
        });
      }
    });
    this.plugins = [...this.backends.plugins, hooks()];
  }

  /** From now on `act` runs each time the moment comes; by default the operation fails there. */
  arm(moment: Moment, act: () => void | Promise<void> = fail): void {
    this.#armed.set(moment, { act, struck: 0 });
  }

  /** The operation fails the first time the moment comes; what undoes it may come by it again. */
  armOnce(moment: Moment): void {
    let struck = false;
    this.arm(moment, () => {
      if (struck) return;
      struck = true;
      fail();
    });
  }

  /** Lets all moments pass again. Gives how often the rarest of those that were armed came. */
  disarm(): number {
    const struck = [...this.#armed.values()].map((each) => each.struck);
    this.#armed.clear();
    return Math.min(...struck);
  }

  async #at(moment: Moment): Promise<void> {
    const armed = this.#armed.get(moment);
    if (!armed) return;
    armed.struck++;
    await armed.act();
  }
}

function fail(): never {
  throw new TapvisorError("INTERNAL", "injected", { data: {} });
}
