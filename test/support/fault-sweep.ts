import { availableParallelism } from "node:os";
import { withDeadline } from "tapvisor/plugin";
import * as assert from "uvu/assert";
import { type Finish, liveThrough } from "./fault-case.ts";
import type { Fault, FaultMode } from "./injector.ts";
import { SCENARIOS, type Scenario } from "./scenarios.ts";
import { suite } from "./suite.ts";

/** How many findings a failing test shows. */
const FINDINGS = 12;
/** A case takes some 10 ms; one that hangs would hide which it was. */
const CASE_MS = 20_000;
const counts: Record<string, number> = {};
const reached = new Map<readonly string[], Set<string>>();

/**
 * Tests that a fault anywhere in each of these operations, and one more in what follows it, leaves nothing that is not named; the scenarios of one
 * tuple of steps belong together, since they have to reach each step.
 */
export function sweepFaults(title: string, names: readonly string[]): void {
  const s = suite(title);
  const scenarios = names.map((name) => SCENARIOS.find((each) => each.name === name) ?? assert.unreachable(`there is no scenario ${name}`));
  for (const scenario of scenarios as Scenario[]) {
    s.test(`${scenario.name}: a fault anywhere`, () => everyFault(scenario), { timeoutMs: 150_000 });
    if (scenario.pairs !== false)
      s.test(`${scenario.name}: a fault and a failing release`, () => everyPair(scenario), { timeoutMs: 150_000 });
  }
  s.test("every step of every operation was reached", () => {
    for (const { steps } of scenarios as Scenario[])
      for (const step of steps) assert.ok(reached.get(steps)?.has(step), `${step} was never reached`);
    console.log(`fault cases: ${Object.values(counts).reduce((sum, count) => sum + count, 0)} ${JSON.stringify(counts)}`);
  });
  s.run();
}

/** Each event of the trace with its number among those of its name. */
function pointsOf(trace: readonly string[], from = 0): { at: string; nth: number }[] {
  return trace.map((at, index) => ({ at, nth: trace.slice(0, index + 1).filter((each) => each === at).length })).slice(from);
}

/** A state that changes since a process ended is told whenever that end arrives: no fault can be aimed at it. */
function isAimable({ at }: { readonly at: string }): boolean {
  return at !== "hook:stateChange";
}

async function cleanTrace(scenario: Scenario): Promise<readonly string[]> {
  const { trace, wrong } = await liveThrough(scenario, [], "again");
  assert.is(wrong.join("\n"), "");
  const steps = reached.get(scenario.steps) ?? new Set();
  for (const event of trace) if (event.startsWith("before:")) steps.add(event.slice("before:".length));
  reached.set(scenario.steps, steps);
  return trace;
}

const OBSERVING = ["hook:onRollback", "hook:stateChange", "hook:agentLost", "hook:vmExited"];

/** How a fault can strike the operation itself at a point. */
function modesOf(at: string): readonly FaultMode[] {
  const [what] = at.split(":");
  if (OBSERVING.includes(at)) return ["abort"];
  if (what === "op") return ["before", "after", "hang", "abort"];
  if (what === "store") return ["before", "abort"];
  return ["before", "abort"];
}

async function everyFault(scenario: Scenario): Promise<void> {
  const trace = await cleanTrace(scenario);
  const cases = pointsOf(trace)
    .filter(isAimable)
    .flatMap((point) =>
      modesOf(point.at).flatMap((mode) => (["again", "gc"] as const).map((finish) => ({ faults: [{ ...point, mode }], finish }))),
    );
  await all(scenario, cases);
}

/** How what follows the fault goes wrong too, one thing at a time. */
function secondsOf(at: string, nth: number, late: "late" | "hang" = "late"): readonly Fault[] {
  const [what] = at.split(":");
  const once = (mode: FaultMode): Fault => ({ at, nth, mode });
  const always = (mode: FaultMode): Fault => ({ at, nth, mode, persists: true });
  if (what === "release" || what === "defer") return [once("before"), always("before"), once(late), always(late)];
  if (what === "op") return [once("before"), once("after"), always("after"), always(late)];
  if (what === "store") return [once("before"), always("before")];
  return [once("before")];
}

async function everyPair(scenario: Scenario): Promise<void> {
  const trace = await cleanTrace(scenario);
  // What comes before the first step, all of it when there is none, gives back what is held.
  const firstStep = trace.findIndex((event) => event.startsWith("before:"));
  const releasing = pointsOf(firstStep < 0 ? trace : trace.slice(0, firstStep)).filter(isAimable);
  const firsts = firstStep < 0 ? [] : pointsOf(trace, firstStep).filter(({ at }) => /^(before|after|op):/.test(at));
  const cases: { faults: Fault[]; finish: Finish }[] = [];
  for (const { at, nth } of releasing) {
    for (const fault of secondsOf(at, nth, "hang")) for (const finish of ["again", "gc"] as const) cases.push({ faults: [fault], finish });
  }
  for (const point of firsts) {
    const first: Fault = { ...point, mode: point.at.startsWith("op:") ? "after" : "before" };
    const { trace: whole } = await liveThrough(scenario, [first], "gc");
    const strike = pointsOf(whole).findIndex(({ at, nth }) => at === point.at && nth === point.nth);
    const rollback = whole.findIndex((event, index) => index > strike && event.startsWith("release:"));
    for (const { at, nth } of pointsOf(whole, Math.max(strike + 1, rollback)).filter(isAimable)) {
      for (const second of secondsOf(at, nth)) cases.push({ faults: [first, second], finish: cases.length % 2 ? "again" : "gc" });
    }
  }
  await all(scenario, cases);
}

async function all(scenario: Scenario, cases: readonly { faults: readonly Fault[]; finish: Finish }[]): Promise<void> {
  const wrong: string[] = [];
  const queue = [...cases];
  const worker = async () => {
    for (let next = queue.shift(); next; next = queue.shift()) {
      const { faults, finish } = next;
      const wait = { what: "the end of the case", timeoutMs: CASE_MS };
      const result = await withDeadline(wait, () => liveThrough(scenario, faults, finish)).catch((error) => ({ wrong: [String(error)] }));
      const name = `${faults.map(({ at, nth, mode, persists }) => `${mode} ${at} ${nth}${persists ? "…" : ""}`).join(" + ")}, ${finish}`;
      for (const each of result.wrong) wrong.push(`${name}: ${each}`);
    }
  };
  await Promise.all(Array.from({ length: 4 * availableParallelism() }, worker));
  counts[scenario.name] = (counts[scenario.name] ?? 0) + cases.length;
  if (wrong.length > 0) throw new Error(`${wrong.length} findings in ${cases.length} cases:\n${wrong.slice(0, FINDINGS).join("\n")}`);
}
