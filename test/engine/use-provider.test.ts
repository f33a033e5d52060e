import { createEngine } from "tapvisor";
import { definePlugin, type RootfsStorage } from "tapvisor/plugin";
import * as assert from "uvu/assert";
import { fakeEngine } from "../support/fake-engine.ts";
import { rejects } from "../support/rejects.ts";
import { suite } from "../support/suite.ts";

const s = suite("a plugin that uses another's provider");

/** A rootfs storage that passes everything on to another one. */
const passing = (plugin: string, name: string, over: string, seen: string[] = []) =>
  definePlugin(plugin, (ctx) => {
    ctx.provide("rootfs", name, async (): Promise<RootfsStorage> => {
      const inner = await ctx.use("rootfs", over);
      const { rootfs } = inner.holdings;
      return {
        ...inner,
        holdings: {
          rootfs: {
            acquire: (intent, call) => {
              seen.push(name);
              return rootfs.acquire(intent, call);
            },
            release: (held, call) => rootfs.release(held, call),
          },
        },
      };
    });
  })();

async function runWith(chosen: string, plugins: Parameters<typeof fakeEngine>[0]): Promise<void> {
  await using world = await fakeEngine({ ...plugins, slots: { rootfs: chosen } });
  const sandbox = await world.engine.runSandbox();
  await (await sandbox.run({ rootfs: world.rootfs, command: ["true"] })).wait();
}

s.test("it wraps one that is loaded later, and one that wraps another", async () => {
  const seen: string[] = [];
  await runWith("outer", { plugins: [passing("first", "outer", "inner", seen), passing("second", "inner", "dir", seen)] });
  assert.equal(seen, ["outer", "inner"]);
});

s.test("it is the engine's own, made once", async () => {
  let made = 0;
  const both: unknown[] = [];
  const counted = definePlugin("counted", (ctx) => {
    ctx.provide("rootfs", "counted", async () => {
      made += 1;
      return ctx.use("rootfs", "dir");
    });
  });
  const user = definePlugin("user", (ctx) => {
    ctx.hooks.beforeCreate.tapPromise(async () => void both.push(await ctx.use("rootfs", "counted")));
  });
  await runWith("counted", { plugins: [counted(), user()] });
  assert.is(made, 1);
  assert.is(both[0], both[1]); // of the sandbox and of its container
});

s.test("without a name it is the one that sandboxes use, which is not chosen while plugins are loaded", async () => {
  const used: unknown[] = [];
  const user = definePlugin("user", (ctx) => {
    ctx.hooks.beforeCreate.tapPromise(async () => void used.push(await ctx.use("rootfs"), await ctx.use("rootfs", "block")));
  });
  await runWith("block", { plugins: [user()] }).catch(() => {}); // a directory is none for it
  assert.is(used[0], used[1]);
  assert.ok(used[0]);
  const early = definePlugin("early", async (ctx) => void (await ctx.use("rootfs")));
  const error = await rejects(createEngine({ preset: "fake", plugins: [early()] }), "PLUGIN_FAILED");
  assert.match(error.message, "none is chosen yet");
});

s.test("one that is not there is NOT_FOUND with what there is, when it is asked for", async () => {
  await using world = await fakeEngine({ plugins: [passing("lonely", "outer", "nobody")], slots: { rootfs: "outer" } });
  const sandbox = await world.engine.runSandbox();
  const error = await rejects(sandbox.run({ rootfs: world.rootfs, command: ["true"] }), "NOT_FOUND");
  assert.equal(error.data, { kind: "rootfs", id: "nobody", known: ["dir", "block", "outer"] });
});

s.test("those that wait for one another are told so, not waited for", async () => {
  const plugins = [passing("first", "one", "two"), passing("second", "two", "one")];
  await using world = await fakeEngine({ plugins, slots: { rootfs: "one" } });
  const sandbox = await world.engine.runSandbox();
  const error = await rejects(sandbox.run({ rootfs: world.rootfs, command: ["true"] }), "PLUGIN_FAILED");
  assert.match(error.message, "rootfs:one > rootfs:two > rootfs:one");
});

s.test("gc() has each plugin give back what is its own; one that fails stops neither the others nor gc()", async () => {
  const seen: string[] = [];
  const plugin = (name: string, fails: boolean) =>
    definePlugin(name, (ctx) => {
      ctx.onGc(async ({ signal, log }) => {
        assert.is(signal.aborted, false);
        log.debug("collects");
        seen.push(name);
        if (fails) throw new Error("cannot");
      });
    })();
  await using world = await fakeEngine({ plugins: [plugin("first", true), plugin("second", false)] });
  assert.equal(seen, []);
  assert.equal(await world.engine.gc(), { collected: [], kept: [], failed: [], corrupt: [] });
  assert.equal(seen, ["first", "second"]);
});

s.run();
