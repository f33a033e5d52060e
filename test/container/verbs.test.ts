import { type Container, isTapvisorError, type Sandbox } from "tapvisor";
import * as assert from "uvu/assert";
import { type FakeEngine, fakeEngine } from "../support/fake-engine.ts";
import { disagreements } from "../support/ledger.ts";
import { suite } from "../support/suite.ts";

const s = suite("container verbs");

async function outcomeOf(work: () => unknown): Promise<string> {
  try {
    await work();
    return "ok";
  } catch (error) {
    return isTapvisorError(error) ? error.code : String(error);
  }
}

interface Subject {
  readonly fake: FakeEngine;
  readonly sandbox: Sandbox;
  readonly container: Container;
}

type State = "ready" | "running" | "paused" | "stopped" | "failed" | "deleted";

/** Leads a new container into a state. */
const REACH: Record<State, (subject: Subject) => Promise<unknown>> = {
  ready: async () => {},
  running: ({ container }) => container.start(),
  paused: async ({ container }) => {
    await container.start();
    await container.pause();
  },
  stopped: async ({ container }) => {
    await container.start();
    await container.stop();
  },
  failed: async ({ fake, container }) => {
    for (let time = 0; time < 2; time++) fake.world.failNext("hypervisor.share.release", { when: "before" });
    assert.is(await outcomeOf(() => container.delete()), "RELEASE_INCOMPLETE");
  },
  deleted: ({ container }) => container.delete(),
};

const VERBS: Record<string, (container: Container) => unknown> = {
  start: (container) => container.start(),
  stop: (container) => container.stop(),
  "stop by force": (container) => container.stop({ force: true }),
  kill: (container) => container.kill("SIGCONT"),
  pause: (container) => container.pause(),
  resume: (container) => container.resume(),
  update: (container) => container.update({ pids: 10 }),
  stats: (container) => container.stats(),
  delete: (container) => container.delete(),
  wait: (container) => container.wait({ timeoutMs: 1 }),
  stdin: (container) => container.stdin,
  stdout: (container) => container.stdout,
  status: (container) => container.status(),
};

/** Per state and verb: the state afterwards, or the error's code and the state that stays. */
const TABLE: Record<State, Record<string, State | string>> = {
  ready: {
    start: "running",
    stop: "stopped",
    "stop by force": "stopped",
    kill: "ready",
    pause: "INVALID_STATE",
    resume: "INVALID_STATE",
    update: "ready",
    stats: "ready",
    delete: "deleted",
    wait: "INVALID_STATE",
    stdin: "INVALID_STATE",
    stdout: "INVALID_STATE",
    status: "ready",
  },
  running: {
    start: "INVALID_STATE",
    stop: "stopped",
    "stop by force": "stopped",
    kill: "running",
    pause: "paused",
    resume: "INVALID_STATE",
    update: "running",
    stats: "running",
    delete: "INVALID_STATE",
    wait: "TIMEOUT",
    stdin: "running",
    stdout: "running",
    status: "running",
  },
  paused: {
    start: "INVALID_STATE",
    stop: "stopped",
    "stop by force": "stopped",
    kill: "paused",
    pause: "INVALID_STATE",
    resume: "running",
    update: "INVALID_STATE",
    stats: "paused",
    delete: "INVALID_STATE",
    wait: "TIMEOUT",
    stdin: "paused",
    stdout: "paused",
    status: "paused",
  },
  stopped: {
    start: "running",
    stop: "stopped",
    "stop by force": "stopped",
    kill: "stopped",
    pause: "INVALID_STATE",
    resume: "INVALID_STATE",
    update: "INVALID_STATE",
    stats: "stopped",
    delete: "deleted",
    wait: "stopped",
    stdin: "stopped",
    stdout: "stopped",
    status: "stopped",
  },
  failed: {
    start: "INVALID_STATE",
    stop: "INVALID_STATE",
    "stop by force": "INVALID_STATE",
    kill: "INVALID_STATE",
    pause: "INVALID_STATE",
    resume: "INVALID_STATE",
    update: "INVALID_STATE",
    stats: "INVALID_STATE",
    delete: "deleted",
    wait: "INVALID_STATE",
    stdin: "INVALID_STATE",
    stdout: "INVALID_STATE",
    status: "failed",
  },
  deleted: {
    start: "NOT_FOUND",
    stop: "deleted",
    "stop by force": "deleted",
    kill: "deleted",
    pause: "NOT_FOUND",
    resume: "NOT_FOUND",
    update: "NOT_FOUND",
    stats: "NOT_FOUND",
    delete: "deleted",
    wait: "NOT_FOUND",
    stdin: "NOT_FOUND",
    stdout: "NOT_FOUND",
    status: "NOT_FOUND",
  },
};

async function newSubject(fake: FakeEngine): Promise<Subject> {
  const sandbox = await fake.engine.runSandbox({ id: "box" });
  const container = await sandbox.createContainer({ id: "web", rootfs: fake.rootfs, command: ["sleep", "60"] });
  return { fake, sandbox, container };
}

function stateOf({ sandbox, container }: Subject): string {
  return sandbox.containers().some(({ id }) => id === container.id) ? container.state : "deleted";
}

for (const [state, verbs] of Object.entries(TABLE) as [State, Record<string, string>][]) {
  for (const [verb, outcome] of Object.entries(verbs)) {
    s.test(`${verb} of a ${state} container gives ${outcome}`, async () => {
      await using fake = await fakeEngine();
      const subject = await newSubject(fake);
      await REACH[state](subject);
      assert.is(stateOf(subject), state);
      const before = JSON.stringify(await fake.everything());
      const code = await outcomeOf(() => VERBS[verb]?.(subject.container));
      if (outcome in REACH) assert.equal([code, stateOf(subject)], ["ok", outcome]);
      else {
        assert.equal([code, stateOf(subject)], [outcome, state]);
        assert.is(JSON.stringify(await fake.everything()), before, "a refused verb changes nothing");
      }
      assert.equal(disagreements(await fake.everything()), []);
    });
  }
}

/** What a sandbox's state lets its containers do. `ready` stands for a container that is ready, or stopped where none can be ready. */
const GATES: Record<string, Record<string, string>> = {
  ready: { create: "ok", start: "INVALID_STATE", stop: "ok", kill: "ok", delete: "ok" },
  running: { create: "ok", start: "ok", stop: "ok", kill: "ok", delete: "ok" },
  paused: { create: "INVALID_STATE", start: "INVALID_STATE", stop: "INVALID_STATE", kill: "INVALID_STATE", delete: "INVALID_STATE" },
  stopped: { create: "INVALID_STATE", start: "INVALID_STATE", stop: "ok", kill: "ok", delete: "ok" },
  failed: { create: "INVALID_STATE", start: "INVALID_STATE", stop: "INVALID_STATE", kill: "INVALID_STATE", delete: "ok" },
  deleted: { create: "INVALID_STATE", start: "INVALID_STATE", stop: "ok", kill: "ok", delete: "ok" },
};

const LEAD: Record<string, (fake: FakeEngine, sandbox: Sandbox) => Promise<unknown>> = {
  ready: async () => {},
  running: (_, sandbox) => sandbox.start(),
  paused: async (_, sandbox) => {
    await sandbox.start();
    await sandbox.pause();
  },
  stopped: (_, sandbox) => sandbox.stop(),
  failed: async ({ world }, sandbox) => {
    for (let time = 0; time < 3; time++) world.failNext("hypervisor.vm.release", { when: "before" });
    assert.is(await outcomeOf(() => sandbox.stop({ force: true })), "RELEASE_INCOMPLETE");
  },
  deleted: async (_, sandbox) => {
    await sandbox.stop();
    await sandbox.delete();
  },
};

for (const [state, verbs] of Object.entries(GATES)) {
  for (const [verb, outcome] of Object.entries(verbs)) {
    s.test(`${verb} of a container in a ${state} sandbox gives ${outcome}`, async () => {
      await using fake = await fakeEngine();
      const sandbox = await fake.engine.createSandbox({ id: "box" });
      const options = { rootfs: fake.rootfs, command: ["sleep", "60"] };
      const container = await sandbox.createContainer({ ...options, id: "web" });
      await LEAD[state]?.(fake, sandbox);
      const code = await outcomeOf(() => (verb === "create" ? sandbox.createContainer(options) : VERBS[verb]?.(container)));
      assert.is(code, outcome);
      if (state !== "failed") assert.equal(disagreements(await fake.everything()), []);
    });
  }
}

s.test("kill, stop and delete done twice at once are success", async () => {
  await using fake = await fakeEngine();
  const { container, sandbox } = await newSubject(fake);
  await container.start();
  const codes = await Promise.all(["kill", "stop", "stop by force", "stop"].map((verb) => outcomeOf(() => VERBS[verb]?.(container))));
  assert.equal(codes, ["ok", "ok", "ok", "ok"]);
  assert.equal(await Promise.all([1, 2].map(() => outcomeOf(() => container.delete()))), ["ok", "ok"]);
  assert.equal(sandbox.containers(), []);
});

s.test("stop by force works when the VM is dead", async () => {
  await using fake = await fakeEngine();
  const { container } = await newSubject(fake);
  await container.start();
  fake.world.killVm("box");
  assert.is(await outcomeOf(() => container.stop({ force: true })), "ok");
  assert.is(container.state, "stopped");
});

s.test("stop by force works when the agent is lost: the process is killed over a new connection", async () => {
  await using fake = await fakeEngine();
  const { container } = await newSubject(fake);
  await container.start();
  fake.world.loseAgent("box");
  assert.is(await outcomeOf(() => container.stop({ force: true })), "ok");
  assert.is(container.state, "stopped");
  assert.is(fake.world.snapshot().vms[0]?.guest.containers[0]?.state, "exited");
  assert.equal(disagreements(await fake.everything()), []);
});

s.test(
  "stop by force of a container in a guest that hangs ends at the release's deadline and says that the process may still run",
  async () => {
    await using fake = await fakeEngine({ releaseTimeoutMs: 20 });
    const { container, sandbox } = await newSubject(fake);
    await container.start();
    await sandbox.pause();
    assert.is(await outcomeOf(() => container.stop({ force: true })), "ok");
    assert.is(container.state, "failed");
    assert.equal(
      (await sandbox.status()).left.map(({ step }) => step),
      ["start-process"],
    );
    await sandbox.resume();
    await container.delete();
    assert.equal(disagreements(await fake.everything()), []);
  },
);

s.test("stop without force fails when the agent is lost or hangs, and can be tried again", async () => {
  await using fake = await fakeEngine();
  const { container } = await newSubject(fake);
  await container.start();
  fake.world.failNext("agent.signalProcess", { when: "before", hang: true });
  assert.is(await outcomeOf(() => container.stop({ signal: AbortSignal.timeout(20) })), "ABORTED");
  assert.is(container.state, "running");
  await container.stop();
  assert.is(container.state, "stopped");
});

s.run();
