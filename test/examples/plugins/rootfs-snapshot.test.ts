import { chmod, mkdir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createEngine, type Plugin, type StepProbe } from "tapvisor";
import { definePlugin, type RootfsStorage } from "tapvisor/plugin";
import { presetFake } from "tapvisor/plugins/preset-fake";
import { stateFs } from "tapvisor/plugins/state-fs";
import { FakeWorld, quietCall, rootfsSuite, sweep, withFaults } from "tapvisor/testing";
import * as assert from "uvu/assert";
import rootfsSnapshot from "../../../examples/plugins/rootfs-snapshot/index.ts";
import { providerOf } from "../../support/fake-guest.ts";
import { rejects } from "../../support/rejects.ts";
import { startScript } from "../../support/script.ts";
import { suite } from "../../support/suite.ts";
import { tempDirectory } from "../../support/temp.ts";

const s = suite("rootfs-snapshot");

const provider = (state: string) => providerOf<RootfsStorage>(rootfsSnapshot(), "rootfs", "snapshot", state);
const copiesIn = (state: string) => readdir(join(state, "rootfs-snapshots")).catch(() => []);

rootfsSuite(
  "rootfs-snapshot",
  async () => {
    const temporary = await tempDirectory();
    const [directory, source, state] = ["mine", "source", "state"].map((name) => join(temporary.path, name)) as [string, string, string];
    for (const each of [directory, source]) await mkdir(each);
    return {
      storage: await provider(state),
      directory,
      source: async () => ({ kind: "directory", path: source }),
      snapshot: async () => [await copiesIn(state), await readdir(source)],
      [Symbol.asyncDispose]: () => temporary[Symbol.asyncDispose](),
    };
  },
  { suite: s },
);

/** A host with a directory to copy; engines on it have records on disk and a fake world of their own. */
async function place() {
  const temporary = await tempDirectory();
  const [root, rootfs] = ["root", "rootfs"].map((name) => join(temporary.path, name)) as [string, string];
  await mkdir(join(rootfs, "etc"), { recursive: true });
  await writeFile(join(rootfs, "etc/release"), "1");
  const world = new FakeWorld();
  const open = (plugin: Plugin = rootfsSnapshot(), probe?: StepProbe) =>
    createEngine({
      preset: presetFake({ world }),
      root,
      plugins: [stateFs(), plugin],
      config: { slots: { rootfs: "snapshot", stateStore: "fs" } },
      ...(probe ? { probe } : {}),
    });
  return {
    path: temporary.path,
    root,
    rootfs,
    world,
    open,
    copies: () => copiesIn(join(root, "state")),
    held: async () => ({
      copies: await copiesIn(join(root, "state")),
      world: world.snapshot(),
      runs: await readdir(join(root, "run")).catch(() => []),
    }),
    [Symbol.asyncDispose]: () => temporary[Symbol.asyncDispose](),
  };
}

s.test("a container sees its directory as it was, with its modes, until it is deleted", async () => {
  await using at = await place();
  await chmod(at.rootfs, 0o755);
  await using engine = await at.open();
  await using sandbox = await engine.runSandbox({ id: "box" });
  const web = await sandbox.run({ id: "web", rootfs: at.rootfs, command: ["true"] });
  await writeFile(join(at.rootfs, "etc/release"), "2");
  const later = await sandbox.run({ id: "later", rootfs: at.rootfs, command: ["true"] });
  const [old = "", recent = ""] = [...(at.world.vm("box")?.shares.values() ?? [])].map(({ entries }) => entries[0]?.source);
  assert.equal([await readFile(join(old, "etc/release"), "utf8"), await readFile(join(recent, "etc/release"), "utf8")], ["1", "2"]);
  assert.is((await stat(old)).mode & 0o777, 0o755);
  await web.wait();
  await web.delete();
  assert.equal(await at.copies(), ["box+later"]);
  await later.wait();
});

s.test("what an earlier copy of a lost record left is not mixed into the new one", async () => {
  await using at = await place();
  const left = join(at.root, "state/rootfs-snapshots/box+web");
  await mkdir(left, { recursive: true });
  await writeFile(join(left, "stale"), "");
  await using engine = await at.open();
  await using sandbox = await engine.runSandbox({ id: "box" });
  await sandbox.run({ id: "web", rootfs: at.rootfs, command: ["true"] });
  assert.equal(await readdir(left), ["etc"]);
});

s.test("a copy that is given up ends before its last file", async () => {
  await using at = await place();
  for (let count = 0; count < 200; count++) await writeFile(join(at.rootfs, String(count)), "");
  const { rootfs } = (await provider(join(at.root, "state"))).holdings;
  const intent = { sandbox: "box", container: "web", source: { kind: "directory", path: at.rootfs }, access: "readonly" } as const;
  const caller = new AbortController();
  const copying = rootfs.acquire(intent, quietCall({ signal: caller.signal }));
  while ((await at.copies()).length === 0) await new Promise(setImmediate);
  caller.abort();
  await rejects(copying, "ABORTED");
  const [copied = []] = await Promise.all((await at.copies()).map((copy) => readdir(join(at.root, "state/rootfs-snapshots", copy))));
  assert.ok(copied.length < 200, `${copied.length} of 201 entries`);
  await rootfs.release({ intent, grant: undefined }, quietCall());
  assert.equal(await at.copies(), []);
});

s.test("a directory that holds the engine's state is refused: a copy would never end", async () => {
  await using at = await place();
  await using engine = await at.open();
  await using sandbox = await engine.runSandbox({ id: "box" });
  const thrown = await sandbox.run({ rootfs: at.path, command: ["true"] }).then(() => "passed", String);
  assert.match(thrown, "subdirectory of self");
  assert.equal(await at.copies(), []);
});

s.test("kill -9 of the script leaves copies that a later process's gc gives back", async () => {
  await using at = await place();
  const script = await startScript(
    at.path,
    "script",
    `
    import { createEngine } from "tapvisor";
    import { stateFs } from "tapvisor/plugins/state-fs";
    import rootfsSnapshot from ${JSON.stringify(join(import.meta.dirname, "../../../examples/plugins/rootfs-snapshot/index.ts"))};
    const engine = await createEngine({
      preset: "fake",
      root: ${JSON.stringify(at.root)},
      plugins: [stateFs(), rootfsSnapshot()],
      config: { slots: { rootfs: "snapshot", stateStore: "fs" } },
    });
    const sandbox = await engine.runSandbox({ id: "box" });
    await sandbox.run({ id: "web", rootfs: ${JSON.stringify(at.rootfs)}, command: ["cat"] });
    console.log("up");
    setInterval(() => {}, 1000);
    `,
  );
  await script.line("up");
  script.child.kill("SIGKILL");
  await script.ended;
  assert.equal(await at.copies(), ["box+web"]);
  await using engine = await at.open();
  assert.equal((await engine.gc()).collected, ["box"]);
  assert.equal(await at.copies(), []);
});

s.test(
  "a fault at any step, or inside any of its calls, leaves nothing",
  async () => {
    await using at = await place();
    const faulty = withFaults(await provider(join(at.root, "state")));
    const plugin = definePlugin("faulty", (ctx) => ctx.provide("rootfs", "snapshot", () => faulty.provider));
    const report = await sweep(
      async (probe) => {
        await using engine = await at.open(plugin(), probe);
        await using sandbox = await engine.runSandbox({ id: "box", boot: { retries: 0 } });
        const web = await sandbox.run({ id: "web", rootfs: at.rootfs, command: ["true"] });
        await web.wait();
        await web.delete();
      },
      {
        snapshot: at.held,
        inside: [faulty],
        async recover() {
          await using engine = await at.open();
          await engine.gc();
        },
      },
    );
    console.log(`${report.cases.length} cases, ${report.leaks.length} leaks`);
    for (const found of [report.leaks, report.unreached, report.swallowed])
      assert.equal(
        found.map(({ at: where }) => where),
        [],
      );
    assert.ok(report.cases.some(({ at: where }) => "call" in where && where.call === "rootfs.acquire"));
  },
  { timeoutMs: 90_000 },
);

s.run();
