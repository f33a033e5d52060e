import { definePlugin, isTapvisorError, type Sandbox } from "tapvisor";
import * as assert from "uvu/assert";
import { fakeEngine } from "../support/fake-engine.ts";
import { suite } from "../support/suite.ts";

const s = suite("sandbox lifecycle");

async function codeOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => "ok",
    (error: unknown) => (isTapvisorError(error) ? error.code : String(error)),
  );
}

type Verb = (sandbox: Sandbox) => Promise<unknown>;
const VERBS: Record<string, Verb> = {
  start: (sandbox) => sandbox.start(),
  stop: (sandbox) => sandbox.stop(),
  pause: (sandbox) => sandbox.pause(),
  resume: (sandbox) => sandbox.resume(),
  delete: (sandbox) => sandbox.delete(),
};
const REACH: Record<string, Verb> = {
  ready: async () => {},
  running: (sandbox) => sandbox.start(),
  paused: async (sandbox) => {
    await sandbox.start();
    await sandbox.pause();
  },
  stopped: (sandbox) => sandbox.stop(),
};
/** What each verb does in each state: the state afterwards, or the error. */
const TABLE: Record<string, Record<string, string>> = {
  ready: { start: "running", stop: "stopped", pause: "INVALID_STATE", resume: "INVALID_STATE", delete: "deleted" },
  running: { start: "running", stop: "stopped", pause: "paused", resume: "INVALID_STATE", delete: "INVALID_STATE" },
  paused: { start: "INVALID_STATE", stop: "stopped", pause: "INVALID_STATE", resume: "running", delete: "deleted" },
  stopped: { start: "running", stop: "stopped", pause: "INVALID_STATE", resume: "INVALID_STATE", delete: "deleted" },
};

for (const [state, verbs] of Object.entries(TABLE)) {
  for (const [verb, outcome] of Object.entries(verbs)) {
    s.test(`${verb} of a ${state} sandbox gives ${outcome}`, async () => {
      await using world = await fakeEngine();
      const empty = await world.everything();
      const sandbox = await world.engine.createSandbox({ id: "box" });
      await REACH[state]?.(sandbox);
      const code = await codeOf(VERBS[verb]?.(sandbox) ?? Promise.reject(new Error(verb)));
      if (outcome === "deleted") assert.equal(await world.everything(), empty);
      else assert.equal([code, sandbox.state], outcome === "INVALID_STATE" ? ["INVALID_STATE", state] : ["ok", outcome]);
    });
  }
}

s.test("a duplicate id is refused before anything has happened", async () => {
  await using world = await fakeEngine();
  await world.engine.createSandbox({ id: "box" });
  const before = await world.everything();
  const calls = world.world.calls.length;
  assert.is(await codeOf(world.engine.createSandbox({ id: "box" })), "ALREADY_EXISTS");
  assert.is(world.world.calls.length, calls);
  assert.equal(await world.everything(), before);
});

s.test("two sandboxes of one id at once: exactly one is made", async () => {
  await using world = await fakeEngine();
  const codes = await Promise.all([1, 2, 3].map(() => codeOf(world.engine.createSandbox({ id: "box" }))));
  assert.equal(codes.sort(), ["ALREADY_EXISTS", "ALREADY_EXISTS", "ok"]);
});

s.test("a stopped sandbox starts again with a new VM, and its containers with it", async () => {
  await using world = await fakeEngine();
  const sandbox = await world.engine.runSandbox({ id: "box" });
  const container = await sandbox.run({ id: "web", rootfs: world.rootfs, command: ["echo", "again"] });
  await sandbox.stop();
  assert.is(container.state, "stopped");
  assert.equal(world.world.snapshot().vms, []);
  await sandbox.start();
  await container.start();
  assert.is(await container.stdout.text(), "again\n");
});

s.test("a forced stop works when the VM is dead, asking the guest nothing", async () => {
  await using world = await fakeEngine();
  const empty = await world.everything();
  const sandbox = await world.engine.runSandbox({ id: "box" });
  await sandbox.run({ id: "web", rootfs: world.rootfs, command: ["sleep", "60"] });
  world.world.killVm("box");
  await sandbox.stop({ force: true });
  assert.is(sandbox.state, "stopped");
  await sandbox.delete();
  assert.equal(await world.everything(), empty);
});

s.test("a VM that dies is noticed: everything it held is given back, the hooks are told once, waits end", async () => {
  const seen: string[] = [];
  const spy = definePlugin("spy", (ctx) => {
    ctx.hooks.vmExited.tapPromise(async ({ sandbox, signal }) => void seen.push(`vmExited ${sandbox} ${signal}`));
    ctx.hooks.agentLost.tapPromise(async ({ sandbox }) => void seen.push(`agentLost ${sandbox}`));
  });
  await using world = await fakeEngine({ plugins: [spy()] });
  const sandbox = await world.engine.runSandbox({ id: "box" });
  const container = await sandbox.run({ id: "web", rootfs: world.rootfs, command: ["sleep", "60"] });
  const waiting = codeOf(container.wait());
  world.world.killVm("box");
  assert.is(await waiting, "AGENT_LOST");
  assert.is((await sandbox.status()).state, "stopped");
  assert.is(container.state, "stopped");
  assert.equal(seen.sort(), ["agentLost box", "vmExited box SIGKILL"]);
  assert.equal(world.world.snapshot().vms, []);
  await sandbox.start();
  await container.start();
  assert.is(container.state, "running");
});

s.test("the end of an engine removes its sandboxes, and a closed engine makes no more", async () => {
  await using world = await fakeEngine();
  const empty = await world.everything();
  const sandbox = await world.engine.runSandbox();
  await sandbox.run({ rootfs: world.rootfs, command: ["sleep", "60"] });
  const creating = codeOf(world.engine.createSandbox());
  await world.engine.close();
  assert.is(await creating, "ABORTED");
  assert.equal(await world.everything(), empty);
  assert.is(await codeOf(world.engine.createSandbox()), "INVALID_STATE");
});

s.test("disposing twice, and deleting what is deleted, is success", async () => {
  await using world = await fakeEngine();
  const sandbox = await world.engine.runSandbox();
  await sandbox[Symbol.asyncDispose]();
  await sandbox[Symbol.asyncDispose]();
  await sandbox.delete();
  await world.engine.close();
  await world.engine.close();
});

s.test("a guest that never answers is started again once, and then the error quotes what it printed", async () => {
  await using world = await fakeEngine();
  const before = await world.everything();
  for (let attempt = 0; attempt < 2; attempt++) world.world.failNext("agent.connect", { when: "before", hang: true });
  const error = await world.engine.createSandbox({ id: "box", boot: { timeoutMs: 20 } }).catch((thrown: unknown) => thrown);
  assert.ok(isTapvisorError(error) && error.code === "GUEST_BOOT_FAILED", String(error));
  assert.is(world.world.calls.filter(({ operation }) => operation === "hypervisor.vm.acquire").length, 2);
  assert.equal(await world.everything(), before);

  world.world.failNext("agent.connect", { when: "before", hang: true });
  const sandbox = await world.engine.createSandbox({ id: "box", boot: { timeoutMs: 20 } });
  assert.is(sandbox.state, "ready");
});

s.run();
