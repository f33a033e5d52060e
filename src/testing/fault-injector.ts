import type { StepEvent, StepProbe } from "../engine/probe.ts";
import { type FaultPoint, isAt, strikes, type Waiting, waiting } from "./faults/points.ts";

export type { FaultPoint } from "./faults/points.ts";

/** Makes an engine's steps fail where one says. */
export interface FaultInjector {
  /** For `createEngine({ probe })`. */
  readonly probe: StepProbe;
  /** The step fails there, with `error` or one that says "injected". */
  failAt(point: FaultPoint & { readonly error?: Error }): void;
  /**
   * The step does not go on from there. A release ends at `releaseTimeoutMs`; before and after a step nothing bounds the wait but `reset`,
   * at which the step fails: to hang inside a step's own deadline, use `withFaults`.
   */
  hangAt(point: FaultPoint): void;
  /** This process dies there, as by `kill -9`: for a script that a test starts as a process of its own. */
  killAt(point: FaultPoint): void;
  /** Whether every fault that was set has struck: a test that does not look may not test what it says. */
  reached(): boolean;
  /** The faults that have not struck. */
  readonly unreached: readonly FaultPoint[];
  /** Every step that came by since the last reset, whether it failed or not. */
  readonly steps: readonly StepEvent[];
  /** Forgets faults and steps, and lets what hangs go on to fail. */
  reset(): void;
}

interface Fault extends Waiting<FaultPoint> {
  strike(): Promise<void> | void;
}

/**
 * Makes the steps of an engine fail, hang, or take the process with them.
 *
 * @example
 * const faults = faultInjector();
 * await using engine = await createEngine({ preset: "fake", probe: faults.probe });
 * faults.failAt({ operation: "create sandbox", step: "connect-agent", phase: "after" });
 * await assert.rejects(engine.createSandbox({ id: "box" }), /injected/);
 * assert.ok(faults.reached());
 */
export function faultInjector(): FaultInjector {
  const faults: Fault[] = [];
  const steps: StepEvent[] = [];
  let letGo = new AbortController();
  const add = (point: FaultPoint, strike: Fault["strike"]) => void faults.push({ ...waiting(point), strike });
  const pending = () => faults.filter(({ struck }) => !struck).map(({ point }) => point);

  return {
    async probe(event) {
      steps.push(event);
      // Every fault counts the time, also when another one strikes.
      const due = faults.filter((fault) => isAt(fault.point, event)).filter(strikes);
      for (const { strike } of due) await strike();
    },
    failAt({ error, ...point }) {
      add(point, () => {
        throw error ?? injected(point);
      });
    },
    hangAt(point) {
      add(point, () => untilLetGo(letGo.signal, point));
    },
    killAt(point) {
      add(point, () => void process.kill(process.pid, "SIGKILL"));
    },
    reached: () => pending().length === 0,
    get unreached() {
      return pending();
    },
    get steps() {
      return steps;
    },
    reset() {
      letGo.abort();
      letGo = new AbortController();
      faults.length = 0;
      steps.length = 0;
    },
  };
}

function untilLetGo(signal: AbortSignal, point: FaultPoint): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener("abort", () => reject(injected(point)), { once: true });
  });
}

function injected({ phase, step }: FaultPoint): Error {
  return new Error(`a fault was injected ${phase === "release" ? "into the release of" : phase} ${step}`);
}
