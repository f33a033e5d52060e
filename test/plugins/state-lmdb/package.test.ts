import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { createEngine } from "tapvisor";
import { presetFake } from "tapvisor/plugins/preset-fake";
import { stateLmdb } from "tapvisor/plugins/state-lmdb";
import { FakeWorld } from "tapvisor/testing";
import * as assert from "uvu/assert";
import { loadLmdb } from "../../../plugins/state-lmdb/load-lmdb.ts";
import { rejects } from "../../support/rejects.ts";
import { startScript } from "../../support/script.ts";
import { suite } from "../../support/suite.ts";
import { tempDirectory } from "../../support/temp.ts";

const s = suite("state-lmdb package");

s.test("lmdb is an optional peer: no user of the core package gets it", async () => {
  const manifest = JSON.parse(await readFile(new URL("../../../package.json", import.meta.url), "utf8"));
  assert.is(manifest.dependencies.lmdb, undefined);
  assert.type(manifest.peerDependencies.lmdb, "string");
  assert.equal(manifest.peerDependenciesMeta.lmdb, { optional: true });
});

s.test("without the package an engine that uses the store is HOST_MISSING with the command that installs it; others work", async () => {
  await using directory = await tempDirectory();
  const script = await startScript(
    directory.path,
    "without-lmdb",
    `
    import { register } from "node:module";
    register("data:text/javascript," + encodeURIComponent(\`export async function resolve(name, context, next) {
      if (name === "lmdb") throw Object.assign(new Error("Cannot find package 'lmdb'"), { code: "ERR_MODULE_NOT_FOUND" });
      return next(name, context);
    }\`));
    const { createEngine } = await import("tapvisor");
    const { presetFake } = await import("tapvisor/plugins/preset-fake");
    const { stateLmdb } = await import("tapvisor/plugins/state-lmdb");
    const root = ${JSON.stringify(directory.path)};
    const other = await createEngine({ preset: presetFake(), plugins: [stateLmdb()], root });
    await other.close();
    try {
      await createEngine({ preset: presetFake(), plugins: [stateLmdb()], config: { slots: { stateStore: "lmdb" } }, root });
      console.log("done: no error");
    } catch (error) {
      console.log("done:", error.code, error.hint);
    }
    `,
  );
  assert.match(await script.line("done"), /HOST_MISSING run `npm install lmdb`/);
  await script.ended;
});

s.test("a package that cannot be loaded says why", async () => {
  const error = await rejects(
    loadLmdb(() => Promise.reject(new Error("GLIBC_2.99 not found"))),
    "HOST_MISSING",
  );
  assert.is(error.data.found, "GLIBC_2.99 not found");
});

s.test("an engine keeps its records in it, and a later one finds them", async () => {
  await using directory = await tempDirectory();
  const world = new FakeWorld();
  const open = () =>
    createEngine({
      preset: presetFake({ world }),
      plugins: [stateLmdb({ file: join(directory.path, "my.mdb") })],
      config: { slots: { stateStore: "lmdb" } },
      root: join(directory.path, "root"),
    });
  const first = await open();
  await first.runSandbox({ id: "kept", detached: true });
  await first.close();
  const second = await open();
  const sandbox = await second.sandbox("kept");
  assert.is(sandbox.state, "running");
  await sandbox.stop({ force: true });
  await sandbox.delete();
  assert.equal(await second.list(), []);
  await second.close();
});

for (const options of [{ file: "" }, { file: 1 }, { path: "x" }]) {
  s.test(`stateLmdb(${JSON.stringify(options)}) is INVALID_INPUT when it is loaded`, async () => {
    await rejects(createEngine({ preset: presetFake(), plugins: [stateLmdb(options as object)] }), "INVALID_INPUT");
  });
}

s.run();
