import type { StepEvent } from "tapvisor";
import { faultInjector } from "tapvisor/testing";
import * as assert from "uvu/assert";
import { fakeEngine } from "../support/fake-engine.ts";
import { failureOf } from "../support/real-engine.ts";
import { startScript } from "../support/script.ts";
import { suite } from "../support/suite.ts";
import { tempDirectory } from "../support/temp.ts";

const s = suite("faultInjector");

const event = (phase: StepEvent["phase"], step: string, operation?: string): StepEvent => ({
  phase,
  step,
  ...(operation === undefined ? {} : { operation }),
});
const outcome = async (work: unknown) =>
  Promise.resolve(work).then(
    () => "passed",
    (error: Error) => error.message,
  );

s.test("fails the step, the moment and the operation it is set for, once", async () => {
  const faults = faultInjector();
  faults.failAt({ operation: "create", step: "b", phase: "after" });
  assert.is(await outcome(faults.probe(event("after", "a", "create"))), "passed");
  assert.is(await outcome(faults.probe(event("before", "b", "create"))), "passed");
  assert.is(await outcome(faults.probe(event("after", "b", "start"))), "passed");
  assert.not.ok(faults.reached());
  assert.equal(faults.unreached, [{ operation: "create", step: "b", phase: "after" }]);
  assert.match(await outcome(faults.probe(event("after", "b", "create"))), "injected after b");
  assert.ok(faults.reached());
  assert.is(await outcome(faults.probe(event("after", "b", "create"))), "passed");
});

s.test("fails the nth time, and with the error that was given", async () => {
  const faults = faultInjector();
  faults.failAt({ step: "a", phase: "before", nth: 3, error: new Error("mine") });
  const seen = [];
  for (let time = 0; time < 4; time++) seen.push(await outcome(faults.probe(event("before", "a"))));
  assert.equal(seen, ["passed", "passed", "mine", "passed"]);
});

s.test("two faults at one place count the times each for itself", async () => {
  const faults = faultInjector();
  faults.failAt({ step: "a", phase: "before", error: new Error("first") });
  faults.failAt({ step: "a", phase: "before", nth: 2, error: new Error("second") });
  assert.equal([await outcome(faults.probe(event("before", "a"))), await outcome(faults.probe(event("before", "a")))], ["first", "second"]);
});

s.test("a step that hangs fails at reset(), which forgets faults and steps", async () => {
  const faults = faultInjector();
  faults.hangAt({ step: "a", phase: "before" });
  const hanging = outcome(faults.probe(event("before", "a")));
  assert.is(await Promise.race([hanging, new Promise((resolve) => setImmediate(() => resolve("hangs")))]), "hangs");
  faults.reset();
  assert.match(await hanging, "injected");
  assert.equal([faults.steps, faults.unreached], [[], []]);
  assert.is(await outcome(faults.probe(event("before", "a"))), "passed");
});

s.test("an engine rolls back from it, and its steps are seen", async () => {
  const faults = faultInjector();
  await using world = await fakeEngine({ probe: faults.probe });
  const before = await world.everything();
  faults.failAt({ operation: "create sandbox", step: "connect-agent", phase: "after" });
  const error = await failureOf(world.engine.createSandbox({ id: "box" }));
  assert.match(error.message, "injected after connect-agent");
  assert.ok(faults.reached());
  assert.ok(faults.steps.some(({ phase, step }) => phase === "release" && step === "launch-vm"));
  assert.equal(await world.everything(), before);
});

s.test("a release that hangs ends at the engine's deadline and is named as left", async () => {
  const faults = faultInjector();
  await using world = await fakeEngine({ probe: faults.probe, releaseTimeoutMs: 50 });
  faults.failAt({ step: "connect-agent", phase: "after" });
  for (const nth of [1, 2]) faults.hangAt({ step: "make-run-directory", phase: "release", nth });
  const error = await failureOf(world.engine.createSandbox({ id: "box" }));
  assert.equal(
    error.rollback?.left.map(({ step }) => step),
    ["make-run-directory"],
  );
  faults.reset();
});

s.test("killAt() ends the process as kill -9 does", async () => {
  await using directory = await tempDirectory();
  const body = `
    import { faultInjector } from "tapvisor/testing";
    const faults = faultInjector();
    faults.killAt({ step: "b", phase: "before" });
    await faults.probe({ step: "a", phase: "before" });
    console.log("a passed");
    await faults.probe({ step: "b", phase: "before" });
    console.log("b passed");
  `;
  const script = await startScript(directory.path, "killed", body);
  await script.line("a passed");
  assert.is((await script.ended).signal, "SIGKILL");
});

s.run();
