import { setImmediate as turn } from "node:timers/promises";
import { isTapvisorError, type LeftHolding, type TapvisorError } from "tapvisor";
import { type Everything, type FakeEngine, fakeEngine, laterProcess } from "./fake-engine.ts";
import { type Fault, Injector, injected } from "./injector.ts";
import { disagreements } from "./ledger.ts";
import type { Act, Scenario } from "./scenarios.ts";

export interface CaseResult {
  readonly trace: readonly string[];
  /** What is wrong; empty when nothing is. */
  readonly wrong: readonly string[];
  readonly failed: boolean;
}

/** How the case goes on after the fault: the same script tries again, or it dies and a later process collects. */
export type Finish = "again" | "gc";

/** Lives through one operation that goes wrong as told, and checks everything that must hold then. */
export async function liveThrough(scenario: Scenario, faults: readonly Fault[], finish: Finish): Promise<CaseResult> {
  const injector = new Injector();
  const fake = await fakeEngine({ injector, templates: scenario.templates ?? false });
  const wrong: string[] = [];
  const check = (right: boolean, what: string) => void (right || wrong.push(what));
  let trace: readonly string[] = [];
  let failed = false;
  try {
    const act = await scenario.prepare(fake);
    const before = await fake.everything();
    injector.begin(faults);
    const error = await failureOf(act(injector.caller.signal));
    failed = error !== undefined;
    await quiet();
    const ended = injector.end();
    trace = ended.trace;
    for (const [index, fault] of faults.entries()) check((ended.struck[index] ?? 0) > 0, `${fault.at} ${fault.nth} was never reached`);
    const storeFails = faults.some(({ at }) => at.startsWith("store:"));
    const after = await fake.everything();
    const left = leftOf(error);
    if (error) {
      check(isCausedBy(error, faults[0]), `the error is another one: ${error.code} ${error.message}`);
      if (!storeFails) for (const each of compareLeft(left, after, scenario)) check(false, each);
      if (left.length === 0 && scenario.failure === "back" && !storeFails) {
        const unlike = scenario.unlike ?? ((everything: Everything) => everything);
        check(JSON.stringify(unlike(after)) === JSON.stringify(unlike(before)), difference(unlike(before), unlike(after)));
      }
    }
    if (!storeFails) for (const each of disagreements(after)) check(false, `the ledger is false: ${each}`);
    wrong.push(...(finish === "again" ? await goOn(scenario, fake, act, failed) : await collectLater(fake)));
  } catch (error) {
    wrong.push(`threw ${error instanceof Error ? error.stack?.split("\n").slice(0, 6).join("") : String(error)}`);
  } finally {
    await Promise.resolve(fake[Symbol.asyncDispose]()).catch((error) => wrong.push(`the engine did not close: ${error}`));
  }
  return { trace, wrong, failed };
}

export async function failureOf(work: Promise<unknown>): Promise<TapvisorError | undefined> {
  try {
    await work;
    return undefined;
  } catch (error) {
    if (isTapvisorError(error)) return error as TapvisorError;
    throw error;
  }
}

/** What goes on beside the operation, an exit that is being recorded say, comes to its end. */
export async function quiet(): Promise<void> {
  for (let turns = 0; turns < 12; turns++) await turn();
}

function leftOf(error: TapvisorError | undefined): readonly LeftHolding[] {
  if (!error) return [];
  const { undone, left } = error.rollback ?? { undone: [], left: [] };
  if (!isTapvisorError(error) || error.code !== "RELEASE_INCOMPLETE") return left;
  // What could not be given back in the middle of it the rollback may have given back, or tried again.
  const tried = (each: LeftHolding) =>
    undone.includes(each.step) || left.some(({ step, kind }) => step === each.step && kind === each.kind);
  return [...error.data.left.filter((each) => !tried(each)), ...left];
}

/** The first error stays the error: the fault's own, or that of the caller who gave up. */
function isCausedBy(error: TapvisorError, fault: Fault | undefined): boolean {
  if (!fault) return false;
  const { message } = injected(fault);
  if (error.code === "RELEASE_INCOMPLETE") return true; // it names each reason itself, which compareLeft looks at
  for (let each: unknown = error; each instanceof Error; each = each.cause) if (each.message.includes(message)) return true;
  return false;
}

/** What the error says is left and what the record says could not be released are the same; a plain function's release is in no record. */
function compareLeft(left: readonly LeftHolding[], { records }: Everything, scenario: Scenario): string[] {
  // A container that could not be started nor, since a hook or the store refused, be removed is left whole, and can be deleted.
  const whole = scenario.name === "run container" && records.some(({ containers }) => containers.web?.state === "stopped");
  const described = ({ step, owner, kind, reason }: Partial<LeftHolding>) => `${step} ${owner} ${kind}${whole ? "" : ` ${reason}`}`;
  const named = left.filter(({ owner }) => !owner.startsWith("hook:")).map(described);
  const recorded = records
    .flatMap(({ holdings }) => holdings)
    .filter(({ status, container }) => status !== "held" || (whole && container === "web"))
    .map(described);
  const wrong: string[] = [];
  if (left.some(({ reason }) => reason === "")) wrong.push("something is left for no reason");
  if (named.join() !== recorded.join()) wrong.push(`left is [${named.join(", ")}], the record has [${recorded.join(", ")}]`);
  const states = records.flatMap(({ state, containers }) => [state, ...Object.values(containers).map((container) => container.state)]);
  // What is left of a disk of the sandbox's own is no reason to end what runs in it: it is tried again when it is added or removed again.
  const disk = scenario.name.endsWith(" device");
  if (left.length > 0 && !whole && !disk && !states.includes("failed"))
    wrong.push(`something is left and nothing is failed: ${states.join()}`);
  if (left.length === 0 && states.includes("failed")) wrong.push(`nothing is left and something is failed: ${states.join()}`);
  return wrong;
}

/** The same script goes on: what is failed is deleted, then the operation is done again under the same id. */
async function goOn(scenario: Scenario, fake: FakeEngine, act: Act, failed: boolean): Promise<string[]> {
  if (failed) {
    if (scenario.makes) await fake.engine.gc();
    const sandbox = fake.state.has("box") ? await fake.engine.sandbox("box") : undefined;
    const creates = ["create container", "run container"].includes(scenario.name);
    for (const container of sandbox?.containers() ?? []) if (creates || container.state === "failed") await container.delete();
    if (sandbox?.state === "failed") await sandbox.delete();
    const gone = sandbox && !fake.state.has("box");
    const lost = sandbox && !gone && scenario.name.endsWith("container") && sandbox.containers().length === 0;
    if (!gone && (!lost || creates || scenario.name === "delete container")) await act();
  }
  await quiet();
  const wrong = disagreements(await fake.everything()).map((each) => `going on, the ledger is false: ${each}`);
  await fake.engine.close();
  return [...wrong, ...isEmpty(await fake.everything(), "after the engine's end")];
}

/** The script dies just then; a later process collects what it left. */
async function collectLater(fake: FakeEngine): Promise<string[]> {
  fake.killScript();
  const known = fake.state.ids();
  const later = await laterProcess(fake);
  const report = await later.gc();
  const wrong = isEmpty(await fake.everything(), "after gc");
  if (report.collected.join() !== known.join()) wrong.push(`gc: ${JSON.stringify(report)}`);
  if (wrong.length === 0) await later.createSandbox({ id: "box" });
  await later.close();
  return wrong;
}

function isEmpty({ world, records, files, saved }: Everything, when: string): string[] {
  const own = saved.filter((name) => !name.startsWith("saved")); // a snapshot that was saved is the user's
  if (world.vms.length === 0 && records.length === 0 && files.length === 0 && own.length === 0) return [];
  return [`${when} there is still ${JSON.stringify({ vms: world.vms, records, files, own })}`];
}

function difference(before: unknown, after: unknown): string {
  const lines = (value: unknown) => JSON.stringify(value, null, 1).split("\n");
  const [a, b] = [lines(before), lines(after)];
  const less = a.filter((line) => !b.includes(line)).map((line) => `- ${line.trim()}`);
  const more = b.filter((line) => !a.includes(line)).map((line) => `+ ${line.trim()}`);
  return `the world differs: ${[...less, ...more].slice(0, 12).join(" ") || "in order"}`;
}
