import { createEngine, definePlugin, isTapvisorError, type Plugin } from "tapvisor";
import * as assert from "uvu/assert";
import { createHooks } from "../../src/engine/hooks.ts";
import { fakeEngine } from "../support/fake-engine.ts";
import { suite } from "../support/suite.ts";

const s = suite("hooks");

async function failure(work: Promise<unknown>) {
  const error = await work.then(
    () => new Error("it did not fail"),
    (thrown: unknown) => thrown,
  );
  if (isTapvisorError(error)) return error;
  throw error;
}

s.test("the table holds every hook of the design, frozen", () => {
  const hooks = createHooks();
  const verbs = ["Create", "Start", "Stop", "Update", "Delete"].flatMap((verb) => [`before${verb}`, `after${verb}`]);
  assert.equal(
    Object.keys(hooks).sort(),
    ["beforeHotplug", "afterAttach", "onRollback", ...verbs, "beforeExec", "stateChange", "agentLost", "vmExited"].sort(),
  );
  assert.ok(Object.isFrozen(hooks));
});

s.test("the verbs fire their hooks in order, for sandbox and container", async () => {
  const seen: string[] = [];
  const spy = definePlugin("spy", (ctx) => {
    for (const hook of [
      "beforeCreate",
      "afterCreate",
      "beforeStart",
      "afterStart",
      "beforeStop",
      "afterStop",
      "beforeDelete",
      "afterDelete",
    ] as const) {
      ctx.hooks[hook].tapPromise(async (event: { container?: string }) => void seen.push(`${hook} ${event.container ?? "sandbox"}`));
    }
    ctx.hooks.beforeHotplug.tapPromise(async ({ kind, action }) => void seen.push(`${action} ${kind}`));
    ctx.hooks.afterAttach.tapPromise(async ({ device }) => void seen.push(`attached ${device.kind} ${device.id}`));
    ctx.hooks.stateChange.tapPromise(async ({ container, from, to }) => void seen.push(`${container ?? "sandbox"} ${from}>${to}`));
  });
  await using world = await fakeEngine({ plugins: [spy()] });
  const sandbox = await world.engine.runSandbox({ id: "box" });
  const container = await sandbox.run({ id: "web", rootfs: world.rootfs, command: ["sleep", "60"] });
  await container.stop({ timeoutMs: 50 });
  await container.delete();
  await sandbox.stop();
  await sandbox.delete();
  assert.equal(seen, [
    "beforeCreate sandbox",
    "sandbox creating>ready",
    "afterCreate sandbox",
    "beforeStart sandbox",
    "afterStart sandbox",
    "sandbox ready>running",
    "beforeCreate web",
    "plug share",
    "attached share web",
    "web creating>ready",
    "afterCreate web",
    "beforeStart web",
    "web ready>running",
    "afterStart web",
    "beforeStop web",
    "web running>stopped",
    "afterStop web",
    "beforeDelete web",
    "unplug share",
    "afterDelete web",
    "beforeStop sandbox",
    "sandbox running>stopped",
    "afterStop sandbox",
    "beforeDelete sandbox",
    "afterDelete sandbox",
  ]);
});

s.test("beforeHotplug may amend the request, and a throw vetoes it and rolls back", async () => {
  const guard = definePlugin("guard", (ctx) => {
    ctx.hooks.beforeHotplug.tapPromise(async (event) => {
      if (event.kind !== "share" || event.action !== "plug") return event;
      if (event.container === "bad") throw new Error("not this one");
      return { ...event, request: { ...event.request, entries: event.request.entries.map((entry) => ({ ...entry, readonly: true })) } };
    });
  });
  await using world = await fakeEngine({ plugins: [guard()] });
  const sandbox = await world.engine.runSandbox({ id: "box" });
  const options = { rootfs: world.rootfs, command: ["true"], mounts: [{ source: world.directory, target: "/data" }] };
  await sandbox.createContainer({ ...options, id: "good" });
  assert.equal(
    world.world
      .vm("box")
      ?.shares.get("good")
      ?.entries.map(({ readonly }) => readonly),
    [true, true],
  );

  const before = await world.everything();
  const error = await failure(sandbox.createContainer({ ...options, id: "bad" }));
  assert.is(error.code, "HOOK_FAILED");
  assert.match(error.message, 'Plugin "guard" failed beforeHotplug: not this one');
  assert.equal(error.data, { plugin: "guard", hook: "beforeHotplug", timedOut: false });
  assert.equal(error.rollback, { undone: ["prepare-rootfs"], left: [] });
  assert.equal(await world.everything(), before);
});

s.test("an unplug that a tap vetoes has released nothing, and works when the tap agrees", async () => {
  let veto = true;
  const guard = definePlugin("guard", (ctx) => {
    ctx.hooks.beforeHotplug.tapPromise(async ({ action }) => {
      if (action === "unplug" && veto) throw new Error("in use");
    });
  });
  await using world = await fakeEngine({ plugins: [guard()] });
  const sandbox = await world.engine.runSandbox({ id: "box" });
  const container = await sandbox.createContainer({ id: "web", rootfs: world.rootfs, command: ["true"] });
  const before = world.world.snapshot();
  assert.is((await failure(container.delete())).code, "HOOK_FAILED");
  assert.equal(world.world.snapshot(), before);
  veto = false;
  await container.delete();
  assert.equal(world.world.vm("box")?.shares.size, 0);
});

s.test("afterAttach may defer a release, which runs in its place on rollback and on delete", async () => {
  const released: string[] = [];
  let fail = true;
  const plugin = definePlugin("deferring", (ctx) => {
    ctx.hooks.afterAttach.tapPromise(async ({ container, defer }) => {
      defer("my-lease", async () => void released.push(container ?? ""));
      if (fail) throw new Error("no");
    });
  });
  await using world = await fakeEngine({ plugins: [plugin()] });
  const sandbox = await world.engine.runSandbox({ id: "box" });
  const before = await world.everything();
  const error = await failure(sandbox.createContainer({ id: "a", rootfs: world.rootfs, command: ["true"] }));
  assert.equal(error.rollback?.undone, ["attach-share", "attach-share", "prepare-rootfs"]);
  assert.equal(released, ["a"]);
  assert.equal(await world.everything(), before);
  fail = false;
  const container = await sandbox.createContainer({ id: "b", rootfs: world.rootfs, command: ["true"] });
  assert.equal(released, ["a"]);
  await container.delete();
  assert.equal(released, ["a", "b"]);
});

s.test("onRollback sees step, cause and outcome; what it throws or how long it hangs changes nothing", async () => {
  const seen: unknown[] = [];
  const plugin = definePlugin("watcher", (ctx) => {
    ctx.hooks.onRollback.tapPromise(async ({ operation, container, step, cause, outcome }) => {
      seen.push({ operation, container, step, cause: cause.message, outcome });
      throw new Error("a bad tap");
    });
    ctx.hooks.onRollback.tapPromise({ timeoutMs: 5 }, () => new Promise(() => {}));
  });
  await using world = await fakeEngine({ plugins: [plugin()] });
  const sandbox = await world.engine.runSandbox({ id: "box" });
  world.world.failNext("agent.createContainer", { when: "after", error: new Error("boom") });
  const error = await failure(sandbox.createContainer({ id: "web", rootfs: world.rootfs, command: ["true"] }));
  assert.is(error.message, "boom");
  assert.equal(
    seen,
    ["create-guest-container", "attach-share", "prepare-rootfs"].map((step) => ({
      operation: "create container",
      container: "web",
      step,
      cause: "boom",
      outcome: "released",
    })),
  );
});

s.test("taps run by stage and before, and the engine lists them in that order", async () => {
  const seen: string[] = [];
  const tap = (name: string, order: { stage?: number; before?: string }) =>
    definePlugin(name, (ctx) => ctx.hooks.afterCreate.tapPromise(order, async () => void seen.push(name)))();
  await using world = await fakeEngine({
    plugins: [tap("late", { stage: 10 }), tap("middle", {}), tap("first", { before: "middle" }), tap("early", { stage: -1 })],
  });
  await world.engine.createSandbox({ id: "box" });
  assert.equal(seen, ["early", "first", "middle", "late"]);
  assert.equal(
    world.engine.hooks.map(({ plugin }) => plugin),
    seen,
  );
});

s.test("a tap that hangs fails its operation with the plugin's and the hook's name", async () => {
  const plugin = definePlugin("sleepy", (ctx) => ctx.hooks.afterCreate.tapPromise({ timeoutMs: 5 }, () => new Promise(() => {})));
  await using world = await fakeEngine({ plugins: [plugin()] });
  const before = await world.everything();
  const error = await failure(world.engine.createSandbox({ id: "box" }));
  assert.equal(error.data, { plugin: "sleepy", hook: "afterCreate", timedOut: true });
  assert.equal(await world.everything(), before);
});

s.test("a tap after the engine has started, of an unknown hook, or without a function is an error that says so", async () => {
  let later: (() => void) | undefined;
  const good = definePlugin("late", (ctx) => {
    later = () => ctx.hooks.afterCreate.tapPromise(async () => {});
  });
  await using world = await fakeEngine({ plugins: [good()] });
  assert.ok(world.engine);
  assert.throws(() => later?.(), /the engine has started/);
  const unknown = definePlugin("typo", (ctx) => Reflect.get(ctx.hooks, "beforeHotPlug").tapPromise(async () => {}));
  const error = await failure(createEngine({ preset: "fake", plugins: [unknown()] }));
  assert.is(error.code, "PLUGIN_FAILED");
  assert.match(error.hint ?? "", "beforeHotplug");
  const empty = definePlugin("empty", (ctx) => ctx.hooks.afterCreate.tapPromise({} as never));
  assert.is((await failure(createEngine({ preset: "fake", plugins: [empty()] }))).code, "INVALID_INPUT");
});

s.test("a plugin that throws, is listed twice, is no plugin, or is for another API is named in the error", async () => {
  const boom = definePlugin("boom", () => {
    throw new Error("at load");
  });
  const cases: [readonly unknown[], RegExp][] = [
    [[boom()], /Cannot load plugin "boom": at load/],
    [[definePlugin("twin", () => {})(), definePlugin("twin", () => {})()], /"twin": it is listed twice/],
    [[boom], /not what definePlugin makes/],
    [[null], /not what definePlugin makes/],
    [[{ name: "old", apiVersion: 0, apply() {} }], /"old": it is made for plugin API 0, this engine has 1/],
  ];
  for (const [plugins, message] of cases) {
    const error = await failure(createEngine({ preset: "fake", plugins: plugins as Plugin[] }));
    assert.is(error.code, "PLUGIN_FAILED", String(message));
    assert.match(error.message, message);
  }
});

s.test("a slot that nobody fills, or that two plugins fill under one name, is an error that lists what there is", async () => {
  const nobody = await failure(createEngine({ preset: "fake", config: { slots: { hypervisor: "xen" } } }));
  assert.is(nobody.code, "NOT_FOUND");
  assert.match(nobody.message, 'no plugin provides "xen", there is fake');
  const twin = definePlugin("twin", (ctx) => ctx.provide("hypervisor", "fake", () => ({}) as never));
  assert.match((await failure(createEngine({ preset: "fake", plugins: [twin()] }))).message, 'plugin "hypervisor-fake" already does');
});

s.run();
