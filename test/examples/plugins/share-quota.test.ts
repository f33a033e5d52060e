import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { createEngine, type StepProbe } from "tapvisor";
import { presetFake } from "tapvisor/plugins/preset-fake";
import { MemoryState } from "tapvisor/plugins/state-memory";
import { FakeWorld, sweep } from "tapvisor/testing";
import * as assert from "uvu/assert";
import shareQuota, { type ShareQuotaOptions, type ShareUsage } from "../../../examples/plugins/share-quota/index.ts";
import { rejects } from "../../support/rejects.ts";
import { suite } from "../../support/suite.ts";
import { tempDirectory } from "../../support/temp.ts";

const s = suite("share-quota");

/** A fake world and directories of the host: `rootfs`, `public` and `private`. */
async function place() {
  const temporary = await tempDirectory();
  const at = (name: string) => join(temporary.path, name);
  for (const each of ["rootfs", "public", "private"]) await mkdir(at(each));
  const world = new FakeWorld();
  const state = new MemoryState();
  const usage: ShareUsage = { shares: new Map(), leaks: 0 };
  return {
    at,
    world,
    usage,
    state,
    open: (options: ShareQuotaOptions, probe?: StepProbe) =>
      createEngine({
        preset: presetFake({ world, state }),
        root: at("root"),
        plugins: [shareQuota({ usage, ...options })],
        ...(probe ? { probe } : {}),
      }),
    container: { rootfs: at("rootfs"), command: ["true"] },
    [Symbol.asyncDispose]: () => temporary[Symbol.asyncDispose](),
  };
}

s.test("vetoes the container that is one too many, in its sandbox only; nothing of it is left", async () => {
  await using host = await place();
  const { open, container, usage, world } = host;
  await using engine = await open({ max: 2 });
  await using sandbox = await engine.runSandbox({ id: "box" });
  await using other = await engine.runSandbox({ id: "other" });
  for (const id of ["a", "b"]) await sandbox.createContainer({ ...container, id });
  const before = world.snapshot();
  const error = await rejects(sandbox.createContainer({ ...container, id: "c" }), "HOOK_FAILED");
  assert.match(error.message, 'sandbox "box" has 2 shares, wanted 2 at most');
  assert.equal(error.rollback, { undone: ["prepare-rootfs"], left: [] });
  assert.equal(world.snapshot(), before);
  await other.createContainer({ ...container, id: "c" });
  assert.equal(
    [...usage.shares],
    [
      ["box", 2],
      ["other", 1],
    ],
  );
});

s.test("a container that is deleted, and a sandbox that stops, give their places back", async () => {
  await using host = await place();
  const { open, container, usage } = host;
  await using engine = await open({ max: 1 });
  await using sandbox = await engine.runSandbox({ id: "box" });
  for (const id of ["a", "b"]) {
    const made = await sandbox.run({ ...container, id });
    await made.wait();
    if (id === "a") await made.delete();
  }
  await sandbox.stop();
  assert.equal([...usage.shares], []);
  await sandbox.start();
  await sandbox.container("b").start();
  assert.equal([...usage.shares], [["box", 1]]);
});

s.test("a container that fails after its share was attached gives its place back", async () => {
  await using host = await place();
  const { open, container, usage, world } = host;
  await using engine = await open({ max: 1 });
  await using sandbox = await engine.runSandbox({ id: "box" });
  world.failNext("agent.createContainer", { when: "after" });
  const error = await rejects(sandbox.createContainer({ ...container, id: "a" }), "AGENT_FAILED");
  assert.equal(error.rollback?.undone, ["create-guest-container", "attach-share", "attach-share", "prepare-rootfs"]);
  assert.equal([[...usage.shares], usage.leaks, world.unusedFaults], [[], 0, []]);
  await sandbox.createContainer({ ...container, id: "a" });
});

s.test("makes read-only what is not below a writable directory", async () => {
  await using host = await place();
  const { at, open, container, world } = host;
  await using engine = await open({ max: 1, writable: [at("public")] });
  await using sandbox = await engine.runSandbox({ id: "box" });
  await mkdir(at("public/deep"));
  await mkdir(at("public-not"));
  const mounts = ["public", "public/deep", "public-not", "private"].map((name) => ({ source: at(name), target: `/${name}` }));
  await sandbox.createContainer({ ...container, mounts });
  const [share] = world.vm("box")?.shares.values() ?? [];
  assert.equal(
    share?.entries.map(({ name, readonly }) => [name, readonly]),
    [
      ["rootfs", true],
      ["mount-0", false],
      ["mount-1", false],
      ["mount-2", true],
      ["mount-3", true],
    ],
  );
});

s.test("counts a release that failed in a rollback, once for each try", async () => {
  await using host = await place();
  const { open, container, usage, world } = host;
  await using engine = await open({ max: 1 });
  await using sandbox = await engine.runSandbox({ id: "box" });
  world.failNext("agent.createContainer", { when: "before" });
  for (let time = 0; time < 2; time++) world.failNext("hypervisor.share.release", { when: "before" });
  const error = await rejects(sandbox.createContainer({ ...container, id: "a" }), "AGENT_FAILED");
  assert.equal(
    error.rollback?.left.map(({ step }) => step),
    ["attach-share"],
  );
  assert.is(usage.leaks, 2);
});

s.test("refuses a limit that is none, and one that is no number", async () => {
  await using host = await place();
  const { open, container } = host;
  for (const max of [undefined, -1, 1.5, "2"]) {
    const error = await rejects(open({ max: max as number }), "INVALID_INPUT");
    assert.is(error.data.path, "max");
  }
  await using engine = await open({ max: 0 });
  await using sandbox = await engine.runSandbox();
  await rejects(sandbox.createContainer(container), "HOOK_FAILED");
});

s.test(
  "a fault at any step leaves nothing counted",
  async () => {
    await using host = await place();
    const { open, container, usage, world, state } = host;
    const report = await sweep(
      async (probe) => {
        await using engine = await open({ max: 1 }, probe);
        await using sandbox = await engine.runSandbox({ id: "box", boot: { retries: 0 } });
        for (const id of ["a", "b"]) {
          const made = await sandbox.run({ ...container, id });
          await made.wait();
          await made.delete();
        }
      },
      {
        snapshot: async () => ({ shares: [...usage.shares], world: world.snapshot(), records: state.ids() }),
        async recover() {
          await using engine = await open({ max: 1 });
          await engine.gc();
        },
      },
    );
    console.log(`${report.cases.length} cases, ${report.leaks.length} leaks`);
    for (const found of [report.leaks, report.unreached, report.swallowed])
      assert.equal(
        found.map(({ at }) => at),
        [],
      );
  },
  { timeoutMs: 60_000 },
);

s.run();
