import type { Container, Sandbox } from "tapvisor";
import { isTapvisorError } from "tapvisor";
import type { FakeOperation } from "tapvisor/testing";
import * as assert from "uvu/assert";
import { CREATE_CONTAINER_STEPS } from "../../src/container/create.ts";
import { START_CONTAINER_STEPS } from "../../src/container/start.ts";
import type { StepEvent } from "../../src/engine/probe.ts";
import { CREATE_SANDBOX_STEPS } from "../../src/sandbox/create.ts";
import { type FakeEngine, fakeEngine } from "../support/fake-engine.ts";
import { suite } from "../support/suite.ts";

const s = suite("fault injection");
let cases = 0;

/** One operation: how the world is prepared for it, and how it is done. It leaves nothing when it fails. */
interface Scenario<Ready> {
  readonly name: string;
  readonly steps: readonly string[];
  prepare(world: FakeEngine): Promise<Ready>;
  act(world: FakeEngine, ready: Ready): Promise<unknown>;
  /** What the backends do for it. */
  readonly operations: readonly FakeOperation[];
}

const createSandbox: Scenario<void> = {
  name: "create sandbox",
  steps: CREATE_SANDBOX_STEPS,
  prepare: async () => {},
  act: ({ engine }) => engine.createSandbox({ id: "box", boot: { retries: 0 } }),
  operations: [
    "guest.prepare",
    "hypervisor.vm.acquire",
    "hypervisor.connect",
    "agent.connect",
    "agent.createSandbox",
    "agent.guestDetails",
  ],
};

const createContainer: Scenario<Sandbox> = {
  name: "create container",
  steps: CREATE_CONTAINER_STEPS,
  prepare: ({ engine }) => engine.runSandbox({ id: "box" }),
  act: ({ rootfs }, sandbox) => sandbox.createContainer({ id: "web", rootfs, command: ["true"] }),
  operations: ["hypervisor.share.acquire", "agent.createContainer"],
};

const run: Scenario<Sandbox> = {
  name: "run",
  steps: [...CREATE_CONTAINER_STEPS, "start-process"],
  prepare: createContainer.prepare,
  act: ({ rootfs }, sandbox) => sandbox.run({ id: "web", rootfs, command: ["sleep", "60"] }),
  operations: ["hypervisor.share.acquire", "agent.createContainer", "agent.startContainer"],
};

const scenarios = [createSandbox, createContainer, run] as readonly Scenario<unknown>[];

for (const scenario of scenarios) {
  for (const phase of ["before", "after"] as const) {
    for (const step of scenario.steps) {
      s.test(`${scenario.name} leaves nothing when it fails ${phase} ${step}, and works again under the same id`, () =>
        failsAt(scenario, phase, step),
      );
    }
  }
  for (const operation of scenario.operations) {
    for (const when of ["before", "after"] as const) {
      s.test(`${scenario.name} leaves nothing when ${operation} fails ${when} its effect`, () => failsIn(scenario, operation, when));
    }
  }
  for (const step of scenario.steps) {
    s.test(`${scenario.name} leaves nothing when the caller gives up at ${step}`, () => abortedAt(scenario, step));
  }
}

async function failsAt(scenario: Scenario<unknown>, phase: StepEvent["phase"], step: string): Promise<void> {
  let armed = false;
  let struck = 0;
  const probe = (event: StepEvent) => {
    if (!armed || event.phase !== phase || event.step !== step) return;
    struck++;
    throw new Error("injected");
  };
  await using world = await fakeEngine({ probe });
  const ready = await scenario.prepare(world);
  const before = await world.everything();
  armed = true;
  const error = await failureOf(scenario.act(world, ready));
  armed = false;
  assert.is(struck, 1, "the fault was reached once");
  assert.match(error.message, "injected");
  assert.equal(error.rollback?.left, []);
  assert.equal(await world.everything(), before);
  await scenario.act(world, ready);
  cases++;
}

async function failsIn(scenario: Scenario<unknown>, operation: FakeOperation, when: "before" | "after"): Promise<void> {
  await using world = await fakeEngine();
  const ready = await scenario.prepare(world);
  const before = await world.everything();
  world.world.failNext(operation, { when });
  const error = await failureOf(scenario.act(world, ready));
  assert.equal(world.world.unusedFaults, []);
  assert.equal(error.rollback?.left, []);
  assert.equal(await world.everything(), before);
  await scenario.act(world, ready);
  cases++;
}

async function abortedAt(scenario: Scenario<unknown>, step: string): Promise<void> {
  let abort: (() => void) | undefined;
  const probe = (event: StepEvent) => {
    if (event.phase === "before" && event.step === step) abort?.();
  };
  await using world = await fakeEngine({ probe });
  const ready = await scenario.prepare(world);
  const before = await world.everything();
  const caller = new AbortController();
  abort = () => caller.abort();
  const error = await failureOf(withSignal(scenario, world, ready, caller.signal));
  abort = undefined;
  assert.is(error.code, "ABORTED");
  assert.equal(await world.everything(), before);
  cases++;
}

function withSignal({ name }: Scenario<unknown>, { engine, rootfs }: FakeEngine, ready: unknown, signal: AbortSignal): Promise<unknown> {
  const options = { id: "web", rootfs, command: ["sleep", "60"] };
  if (name === "create sandbox") return engine.createSandbox({ id: "box", boot: { retries: 0 } }, { signal });
  if (name === "create container") return (ready as Sandbox).createContainer(options, { signal });
  return (ready as Sandbox).run(options, { signal });
}

async function failureOf(work: Promise<unknown>) {
  const thrown = await work.then(
    () => new Error("it did not fail"),
    (error: unknown) => error,
  );
  if (isTapvisorError(thrown)) return thrown;
  throw thrown;
}

s.test("start of a container that fails leaves it stopped, its other holdings kept, and it can be started again", async () => {
  for (const step of START_CONTAINER_STEPS.filter((each) => each === "start-process" || each === "commit")) {
    let armed = false;
    const probe = (event: StepEvent) => {
      if (armed && event.phase === "after" && event.step === step) throw new Error("injected");
    };
    await using world = await fakeEngine({ probe });
    const sandbox = await world.engine.runSandbox({ id: "box" });
    const container: Container = await sandbox.createContainer({ id: "web", rootfs: world.rootfs, command: ["echo", "again"] });
    armed = true;
    await failureOf(container.start());
    armed = false;
    assert.is(container.state, "stopped");
    await container.start();
    assert.is(await container.stdout.text(), "again\n");
    cases++;
  }
});

s.test("a release that fails is named, the record stays as failed, and delete gives it back later", async () => {
  await using world = await fakeEngine();
  const empty = await world.everything();
  world.world.failNext("agent.createSandbox", { when: "after" });
  // Twice: a release that fails is tried once more when a later one has succeeded.
  for (let time = 0; time < 2; time++) world.world.failNext("hypervisor.vm.release", { when: "before", error: new Error("stuck") });
  const error = await failureOf(world.engine.createSandbox({ id: "box" }));
  assert.equal(
    error.rollback?.left.map(({ step, owner, reason }) => ({ step, owner, reason })),
    [{ step: "launch-vm", owner: "hypervisor:fake", reason: "stuck" }],
  );
  const record = world.state.get("box") as { state: string; holdings: { step: string; status: string }[] };
  assert.is(record.state, "failed");
  assert.equal(
    record.holdings.map(({ step, status }) => [step, status]),
    [["launch-vm", "failed"]],
  );
  assert.not.equal(await world.everything(), empty);
  cases++;
});

s.test(`every case ran`, () => {
  console.log(`${cases} fault cases`);
  assert.ok(cases >= 60, String(cases));
});

s.run();
