import { chmod, mkdir, readdir, readFile, rename, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import * as assert from "uvu/assert";
import { ensureVolume, listVolumes, removeVolume, sweepVolumes, volumeDirectory } from "../../src/volume/volumes.ts";
import { startChild } from "../support/child-process.ts";
import { rejects } from "../support/rejects.ts";
import { suite } from "../support/suite.ts";
import { tempDirectory } from "../support/temp.ts";

const s = suite("volumes: removal");

const namesOf = async (root: string) => (await listVolumes(root)).map(({ name }) => name);

/** A root that is not there yet. */
async function world() {
  const temporary = await tempDirectory();
  return { root: join(temporary.path, "root"), top: temporary.path, [Symbol.asyncDispose]: () => temporary[Symbol.asyncDispose]() };
}

s.test("a volume that sandboxes use is not removed: VOLUME_IN_USE names them", async () => {
  await using w = await world();
  await ensureVolume(w.root, "data");
  const error = await rejects(removeVolume(w.root, "data", ["web", "db"]), "VOLUME_IN_USE");
  assert.equal(error.data, { id: "data", sandboxes: ["web", "db"] });
  assert.match(error.message, /in use by sandbox "web", "db"/);
  assert.equal(await namesOf(w.root), ["data"]);
});

s.test("removeVolume() removes the one volume; not there is success", async () => {
  await using w = await world();
  await removeVolume(w.root, "data", []);
  for (const name of ["data", "other"]) await writeFile(join(await ensureVolume(w.root, name), "file"), name);
  for (let time = 0; time < 2; time++) await removeVolume(w.root, "data", []);
  assert.equal(await readdir(join(w.root, "volumes")), ["other"]);
  assert.is(await readFile(join(volumeDirectory(w.root, "other"), "file"), "utf8"), "other");
});

s.test(
  "whatever a guest left in a volume is removed: deeper than paths go, names that are no text, directories closed to their owner",
  async () => {
    await using w = await world();
    const directory = await ensureVolume(w.root, "data");
    const step = "x".repeat(100);
    await mkdir(join(w.top, "a", step), { recursive: true });
    for (let depth = 0; depth < 60; depth++) {
      await mkdir(join(w.top, "b"));
      await rename(join(w.top, "a"), join(w.top, "b", step));
      await rename(join(w.top, "b"), join(w.top, "a"));
    }
    await rename(join(w.top, "a"), join(directory, "deep")); // 6,000 bytes, a path has at most 4,096
    await writeFile(Buffer.from(`${directory}/\xff\xfe`, "latin1"), "");
    await mkdir(Buffer.from(`${directory}/\xc3\x28`, "latin1"));
    await mkdir(join(directory, "closed", "inner"), { recursive: true });
    await chmod(join(directory, "closed"), 0);
    const outside = join(w.top, "outside");
    await mkdir(outside);
    await writeFile(join(outside, "file"), "");
    await symlink(outside, join(directory, "link"));
    assert.is((await listVolumes(w.root, { measure: true }))[0]?.bytes, undefined, "what cannot be measured has no number");
    await removeVolume(w.root, "data", []);
    assert.equal(await readdir(join(w.root, "volumes")), []);
    assert.equal(await readdir(outside), ["file"]);
  },
);

s.test("a removal that is cut off by its signal is out of sight, and the next removal or sweep finishes it", async () => {
  await using w = await world();
  for (const finish of [() => sweepVolumes(w.root), () => removeVolume(w.root, "other", [])]) {
    await writeFile(join(await ensureVolume(w.root, "data"), "file"), "old");
    await rejects(removeVolume(w.root, "data", [], AbortSignal.abort()), "ABORTED");
    assert.equal(await namesOf(w.root), []);
    assert.equal(await readdir(await ensureVolume(w.root, "data")), []);
    assert.is((await readdir(join(w.root, "volumes"))).length, 2);
    await finish();
    assert.equal(await readdir(join(w.root, "volumes")), ["data"]);
  }
});

s.test("kill -9 in the middle of a removal leaves nothing half visible, and a sweep removes the rest", async () => {
  await using w = await world();
  const directory = await ensureVolume(w.root, "data");
  for (let number = 0; number < 20; number++) {
    await mkdir(join(directory, `d-${number}`));
    await Promise.all(Array.from({ length: 100 }, (_, file) => writeFile(join(directory, `d-${number}`, `f-${file}`), "")));
  }
  await using child = startChild(new URL("./remove-child.ts", import.meta.url), [w.root]);
  while ((await readdir(directory).catch(() => [])).length === 20) await delay(1, undefined, { ref: false });
  await child.kill();
  assert.equal(await namesOf(w.root), []);
  assert.equal(await readdir(await ensureVolume(w.root, "data")), []);
  await sweepVolumes(w.root);
  assert.equal(await readdir(join(w.root, "volumes")), ["data"]);
});

s.test("two sweeps at once do not disturb each other", async () => {
  await using w = await world();
  const directory = await ensureVolume(w.root, "data");
  for (let number = 0; number < 200; number++) await mkdir(join(directory, `${number % 7}`, `${number}`, "below"), { recursive: true });
  await rejects(removeVolume(w.root, "data", [], AbortSignal.abort()), "ABORTED");
  await Promise.all([sweepVolumes(w.root), sweepVolumes(w.root), sweepVolumes(w.root)]);
  assert.equal(await readdir(join(w.root, "volumes")), []);
});

s.run();
