import { isDeepStrictEqual } from "node:util";
import { toError } from "../base/errors.ts";
import type { StepEvent, StepProbe } from "../engine/probe.ts";
import { type FaultPoint, faultInjector } from "./fault-injector.ts";
import type { CallFault, Faulty } from "./with-faults.ts";

export interface SweepOptions {
  /** Everything that may leak, as plain data; taken before and after each case. */
  snapshot(): Promise<unknown>;
  /** The moments of each step at which a fault is tried; `before`, `after` and `release` by default. */
  readonly phases?: readonly StepEvent["phase"][];
  /** Providers whose calls are failed one by one as well, before and after their effect. `run` offers them to its engine. */
  readonly inside?: readonly Faulty<object>[];
  /** Runs after each case and before its snapshot: a `gc`, say, which is what takes away what a failed release left. */
  recover?(): Promise<void>;
}

/** One run with one fault. */
export interface SweepCase {
  /** Where it was: a step's moment, or a provider's call. */
  readonly at: FaultPoint | CallFault;
  /** What the scenario threw; absent when it went through all the same. */
  readonly error?: Error;
  /** Whether the fault struck at all. */
  readonly struck: boolean;
}

export interface SweepReport {
  readonly cases: readonly SweepCase[];
  /** The cases after which the world was not what it had been. */
  readonly leaks: readonly (SweepCase & { readonly before: unknown; readonly after: unknown })[];
  /** The cases whose fault never struck: the scenario does not do the same each time. */
  readonly unreached: readonly SweepCase[];
  /** The cases with a fault before or after a step that the scenario did not notice: an error was swallowed. */
  readonly swallowed: readonly SweepCase[];
}

/**
 * Runs a scenario once as it is, to see its steps, and then once for each step and moment with a fault there; after each run the world
 * must be what it was. `run` makes its own engine with the probe, does what it likes, and closes the engine, also when it fails.
 *
 * @throws what the first run throws, or an Error when the first run itself leaves something.
 *
 * @example
 * const report = await sweep(
 *   async (probe) => {
 *     await using engine = await createEngine({ plugins: [myPlugin()], root, probe });
 *     await using sandbox = await engine.runSandbox();
 *     await sandbox.run({ rootfs, command: ["true"] });
 *   },
 *   { snapshot: async () => ({ volumes: await myVolumes(), files: await readdir(root) }) },
 * );
 * assert.deepEqual(report.leaks, []);
 * assert.deepEqual(report.unreached, []);
 */
export async function sweep(run: (probe: StepProbe) => Promise<void>, options: SweepOptions): Promise<SweepReport> {
  const { phases = ["before", "after", "release"], inside = [] } = options;
  const faults = faultInjector();
  const clean = () => {
    for (const each of [faults, ...inside]) each.reset();
  };
  clean();
  const pristine = await options.snapshot();
  const report = { cases: [] as SweepCase[], leaks: [] as SweepReport["leaks"][number][] };
  const attempt = async (at: SweepCase["at"], set: () => void, reached: () => boolean) => {
    clean();
    set();
    const before = await options.snapshot();
    const error = await run(faults.probe).then(() => undefined, toError);
    const struck = reached();
    clean(); // what recovers must not meet the fault
    await options.recover?.();
    const after = await options.snapshot();
    const done: SweepCase = { at, struck, ...(error ? { error } : {}) };
    report.cases.push(done);
    // What an earlier case left may go with this one: that is no leak of its own.
    if (!isDeepStrictEqual(after, before) && !isDeepStrictEqual(after, pristine)) report.leaks.push({ ...done, before, after });
  };

  await run(faults.probe);
  if (!isDeepStrictEqual(await options.snapshot(), pristine)) throw new Error("The scenario leaves something even when nothing fails");
  const points = pointsOf(faults.steps.filter(({ phase }) => phases.includes(phase)));
  const calls = inside.map((faulty) => ({ faulty, points: callsOf(faulty.calls) }));

  for (const point of points) await attempt(point, () => faults.failAt(point), faults.reached);
  for (const { faulty, points: each } of calls) {
    for (const point of each) await attempt(point, () => faulty.failIn(point), faulty.reached);
  }
  clean();
  const unreached = report.cases.filter(({ struck }) => !struck);
  const swallowed = report.cases.filter(({ at, struck, error }) => struck && !error && "phase" in at && at.phase !== "release");
  return { ...report, unreached, swallowed };
}

/** Each event as a point, with the how manyth of its kind it was. */
function pointsOf(events: readonly StepEvent[]): FaultPoint[] {
  const nthOf = counter();
  return events.map(({ step, phase, operation }) => {
    const nth = nthOf(`${phase} ${operation} ${step}`);
    return { step, phase, nth, ...(operation === undefined ? {} : { operation }) };
  });
}

function callsOf(calls: readonly string[]): CallFault[] {
  const nthOf = counter();
  return calls.flatMap((call) => {
    const nth = nthOf(call);
    return (["before", "after"] as const).map((when) => ({ call, when, nth }));
  });
}

function counter(): (key: string) => number {
  const counts = new Map<string, number>();
  return (key) => {
    const nth = (counts.get(key) ?? 0) + 1;
    counts.set(key, nth);
    return nth;
  };
}
