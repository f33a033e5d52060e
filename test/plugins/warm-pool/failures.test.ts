import * as assert from "uvu/assert";
import { suite } from "../../support/suite.ts";
import { type PoolEngine, poolEngine, until } from "./support/pool-engine.ts";

const s = suite("warm pool: what goes wrong");
const SANDBOX = { template: true } as const;
/** How often a pool of two starts VMs for one acquisition. */
const MOST_STARTS = 4;

/** When the next sandbox has come up, so that what fails is the pool's own. */
function onceUp(w: PoolEngine, then: () => void): void {
  w.taps.onUp = () => {
    w.taps.onUp = () => {};
    then();
  };
}

/** Closes the engine, and looks whether anything is left. */
async function closesClean(w: PoolEngine): Promise<void> {
  await w.engine.close();
  assert.equal(w.world.unusedFaults, []);
  assert.equal(w.world.snapshot().vms, []);
  assert.equal(await w.places(), []);
}

const POINTS = [
  ["hypervisor.vm.acquire", "before"],
  ["hypervisor.vm.acquire", "after"],
  ["hypervisor.connect", "before"],
  ["hypervisor.pause", "after"],
  ["agent.connect", "before"],
  ["agent.createSandbox", "after"],
] as const;

for (const [operation, when] of POINTS) {
  s.test(`a VM that cannot be started, at ${operation}, ${when} it, leaves nothing, and is tried again with the next sandbox`, async () => {
    await using w = await poolEngine();
    onceUp(w, () => w.world.failNext(operation, { when }));
    await using one = await w.engine.createSandbox(SANDBOX);
    await until(() => w.world.unusedFaults.length === 0);
    await until(async () => (await w.places()).length === 0);
    await w.filled(0);
    assert.is(w.started().length, 2, "once is enough");
    await using _two = await w.engine.createSandbox(SANDBOX);
    await w.filled(2);
    assert.is(one.state, "ready");
    await closesClean(w);
  });
}

s.test("a VM that dies while it waits is replaced, and not for ever", async () => {
  await using w = await poolEngine();
  await using _one = await w.engine.createSandbox(SANDBOX);
  await w.filled(2);
  for (let replaced = 2; replaced < MOST_STARTS; replaced++) {
    const [dying = ""] = w.waiting();
    w.world.killVm(dying);
    await until(() => w.world.vm(dying) === undefined);
    await w.filled(2);
  }
  for (const left of [1, 0]) {
    w.world.killVm(w.waiting()[0] ?? "");
    await w.filled(left);
  }
  await until(async () => (await w.places()).length === 0);
  assert.is(w.started().length, 1 + MOST_STARTS);
  await using _two = await w.engine.createSandbox(SANDBOX);
  await w.filled(2);
  await closesClean(w);
});

for (const operation of ["hypervisor.connect", "hypervisor.resume", "hypervisor.status"] as const) {
  s.test(`a VM that waited and fails at ${operation} is given back, and the sandbox gets the next one`, async () => {
    await using w = await poolEngine();
    await using _one = await w.engine.createSandbox(SANDBOX);
    await w.filled(2);
    const [first = "", second = ""] = w.waiting();
    const started = w.started().length;
    onceUp(w, () => assert.is(w.started().length, started));
    w.world.failNext(operation, { when: "before" });
    await using _two = await w.engine.createSandbox(SANDBOX);
    assert.is(w.world.vm(second)?.state, "running");
    await until(() => w.world.vm(first) === undefined);
    await closesClean(w);
  });
}

s.test("where none of those that wait can be used, the sandbox has a VM of its own", async () => {
  await using w = await poolEngine();
  await using _one = await w.engine.createSandbox(SANDBOX);
  await w.filled(2);
  for (let time = 0; time < 2; time++) w.world.failNext("hypervisor.resume", { when: "before" });
  await using _two = await w.engine.createSandbox({ ...SANDBOX, id: "box" });
  assert.is(w.world.vm("box")?.state, "running");
  await closesClean(w);
});

s.test("a sandbox that fails to come up gives its VM back, and the pool fills again", async () => {
  await using w = await poolEngine();
  await using _one = await w.engine.createSandbox(SANDBOX);
  await w.filled(2);
  const [taken = ""] = w.waiting();
  w.world.failNext("agent.connect", { when: "before" });
  const failed = await w.engine.createSandbox({ ...SANDBOX, boot: { retries: 0 } }).catch((error: unknown) => error);
  assert.instance(failed, Error);
  assert.is(w.world.vm(taken), undefined);
  await w.filled(2);
  await closesClean(w);
});

s.test("closing ends those that wait, and the one that is being started", async () => {
  await using w = await poolEngine();
  await using _one = await w.engine.createSandbox(SANDBOX);
  await w.filled(2);
  onceUp(w, () => w.world.failNext("hypervisor.vm.acquire", { when: "after", hang: true }));
  await using _two = await w.engine.createSandbox(SANDBOX);
  await until(() => w.world.unusedFaults.length === 0);
  const begun = performance.now();
  await closesClean(w);
  assert.ok(performance.now() - begun < 5_000);
});

s.test("a VM that cannot be given back is tried again by gc and when the engine closes", async () => {
  await using w = await poolEngine();
  await using _one = await w.engine.createSandbox(SANDBOX);
  await w.filled(2);
  const [dying = ""] = w.waiting();
  w.world.failNext("hypervisor.vm.release", { when: "before" });
  w.world.killVm(dying);
  await until(() => w.world.unusedFaults.length === 0);
  await w.filled(2);
  assert.is(w.world.vm(dying)?.state, "ended");
  await w.engine.gc();
  assert.is(w.world.vm(dying), undefined);
  w.world.failNext("hypervisor.vm.release", { when: "before" });
  w.world.killVm(w.waiting()[0] ?? "");
  await until(() => w.world.unusedFaults.length === 0);
  await closesClean(w);
});

s.run();
