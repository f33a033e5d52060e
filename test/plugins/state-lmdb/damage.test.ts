import { readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { isTapvisorError, type Json } from "tapvisor/plugin";
import * as assert from "uvu/assert";
import { loadLmdb } from "../../../plugins/state-lmdb/load-lmdb.ts";
import { createLmdbStore } from "../../../plugins/state-lmdb/state-store.ts";
import { startChild } from "../../support/child-process.ts";
import { rejects } from "../../support/rejects.ts";
import { suite } from "../../support/suite.ts";
import { tempDirectory } from "../../support/temp.ts";
import { damage } from "./damage.ts";

const s = suite("state-lmdb damage");

async function world() {
  const temporary = await tempDirectory();
  const lmdb = await loadLmdb();
  const open = (name: string) => createLmdbStore({ file: join(temporary.path, "state", name), lmdb });
  const store = open("intact.mdb");
  for (let n = 0; n < 20; n++) await store.create(`web-${n}`, { n, filler: "x".repeat(3000) });
  await store.close();
  return { directory: join(temporary.path, "state"), open, [Symbol.asyncDispose]: () => temporary[Symbol.asyncDispose]() };
}

/** Runs rounds of one kind of damage in a process of their own, which must not end before them. */
async function rounds(kind: "cut" | "record", count: number): Promise<{ noticed: number }> {
  await using w = await world();
  const intact = join(w.directory, "intact.mdb");
  const args = [intact, join(w.directory, "copy.mdb"), kind, String(count)];
  await using child = startChild<{ round: number; corrupt: number; wrong: string[] }>(new URL("./damage-child.ts", import.meta.url), args);
  let reports = 0;
  let noticed = 0;
  for (let report = await child.next(); report; report = await child.next()) {
    assert.equal(report.wrong, [], `round ${report.round}`);
    reports++;
    if (report.corrupt > 0) noticed++;
  }
  assert.equal({ ...(await child.ended), reports }, { code: 0, signal: null, reports: count });
  return { noticed };
}

s.test("a damaged record is STATE_CORRUPT whatever the damage, and the others stay readable", async () => {
  assert.is((await rounds("record", 200)).noticed, 200);
});

s.test("a file cut short anywhere never ends the process: it is STATE_CORRUPT, or empty", async () => {
  const { noticed } = await rounds("cut", 100);
  assert.ok(noticed >= 99, `${noticed} of 100`);
});

s.test("a corrupt record is named with its file, is listed, is not written over, and can be removed", async () => {
  await using w = await world();
  const file = join(w.directory, "copy.mdb");
  await writeFile(file, damage("record", await readFile(join(w.directory, "intact.mdb")), 7));
  const store = w.open("copy.mdb");
  const ids = await store.list();
  assert.is(ids.length, 20);
  const damaged: string[] = [];
  for (const id of ids) {
    const error = await store.read(id).catch((reason: unknown) => reason);
    if (!isTapvisorError(error)) continue;
    assert.ok(error.code === "STATE_CORRUPT" && error.message.includes(file) && error.message.includes(id), error.message);
    assert.equal(error.data, { file, id });
    damaged.push(id);
  }
  assert.is(damaged.length, 1);
  const [id = ""] = damaged;
  await rejects(store.write(id, 1), "STATE_CORRUPT");
  await rejects(store.create(id, 1), "ALREADY_EXISTS");
  await store.remove(id);
  await store.create(id, "anew");
  assert.is(await store.read(id), "anew");
  await store.close();
});

for (const [what, content] of [
  ["text", "not a database at all, though it is long enough to hold a head of one".repeat(200)],
  ["zeros", "\0".repeat(8192)],
  ["a few bytes", "x"],
] as const) {
  s.test(`${what} in the place of the file is STATE_CORRUPT for every verb, and stays as it was`, async () => {
    await using w = await world();
    const file = join(w.directory, "other.mdb");
    await writeFile(file, content);
    const store = w.open("other.mdb");
    const verbs = [
      () => store.read("web"),
      () => store.list(),
      () => store.create("web", 1),
      () => store.write("web", 1),
      () => store.remove("web"),
    ];
    for (const verb of verbs) {
      const error = await rejects(verb(), "STATE_CORRUPT");
      assert.is(error.data.file, file);
    }
    assert.is((await stat(file)).size, content.length);
    await store.close();
  });
}

s.test("the file is private, in a private directory", async () => {
  await using w = await world();
  assert.equal((await stat(w.directory)).mode & 0o777, 0o700);
  assert.equal((await stat(join(w.directory, "intact.mdb"))).mode & 0o777, 0o600);
});

for (const value of [Number.NaN, Number.POSITIVE_INFINITY, 1n, () => {}, Symbol("x")]) {
  s.test(`a record with ${String(value)} is INVALID_INPUT and changes nothing`, async () => {
    await using w = await world();
    const store = w.open("intact.mdb");
    await rejects(store.write("web-1", { deep: [value] } as unknown as Json), "INVALID_INPUT");
    assert.equal(await store.read("web-1"), { n: 1, filler: "x".repeat(3000) });
    await store.close();
  });
}

s.test("a disk that refuses is STATE_IO naming the file and the system's word", async () => {
  await using w = await world();
  await writeFile(join(w.directory, "plain"), "");
  const error = await rejects(w.open("plain/below/state.mdb").create("web", 1), "STATE_IO");
  assert.is(error.data.errno, "ENOTDIR");
});

s.run();
