import { execFile } from "node:child_process";
import { mkdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { isTapvisorError, type Json } from "tapvisor/plugin";
import * as assert from "uvu/assert";
import { ENVELOPE_VERSION } from "../../../plugins/state-fs/envelope.ts";
import { createFsStore } from "../../../plugins/state-fs/state-store.ts";
import { suite } from "../../support/suite.ts";
import { tempDirectory } from "../../support/temp.ts";

const s = suite("state-fs corrupt file");

const RECORD: Json = { state: "running", holdings: [{ id: 1, text: "grüße" }], n: -1.5 };

async function world() {
  const temporary = await tempDirectory();
  const directory = join(temporary.path, "state");
  const store = createFsStore({ directory });
  await store.create("web", RECORD);
  const file = join(directory, "web.json");
  return { directory, store, file, bytes: await readFile(file), [Symbol.asyncDispose]: () => temporary[Symbol.asyncDispose]() };
}

type World = Awaited<ReturnType<typeof world>>;

async function assertCorrupt({ store, file }: World, read = store.read("web"), text = /./): Promise<void> {
  const error = await read.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  assert.ok(isTapvisorError(error) && error.code === "STATE_CORRUPT", String(error));
  assert.equal(error.data, { file });
  assert.ok(error.message.includes(file));
  assert.match(error.message, text);
}

s.test("a record cut short at any byte is STATE_CORRUPT naming the file", async () => {
  await using w = await world();
  for (let length = 0; length < w.bytes.length - 1; length++) {
    await writeFile(w.file, w.bytes.subarray(0, length));
    await assertCorrupt(w);
  }
  await writeFile(w.file, w.bytes.subarray(0, -1)); // the final newline carries nothing
  assert.equal(await w.store.read("web"), RECORD);
});

s.test("a damaged byte anywhere is STATE_CORRUPT or leaves the record as it was", async () => {
  await using w = await world();
  let noticed = 0;
  for (let at = 0; at < w.bytes.length; at++) {
    const bytes = Buffer.from(w.bytes);
    bytes[at] = (bytes[at] as number) ^ 1;
    await writeFile(w.file, bytes);
    const read = await w.store.read("web").catch((error: unknown) => error);
    if (isTapvisorError(read)) {
      await assertCorrupt(w);
      noticed++;
    } else assert.equal(read, RECORD, `byte ${at}`);
  }
  assert.ok(noticed > w.bytes.length - 4, `${noticed} of ${w.bytes.length}`);
});

for (const [what, content] of [
  ["an empty object", "{}"],
  ["null", "null"],
  ["a list", "[]"],
  ["a text", '"tapvisor-state"'],
  ["another program's JSON", '{"format":"other","version":1,"record":{}}'],
  ["no JSON", "\u0000\u0000\u0000\u0000"],
] as const) {
  s.test(`${what} in the place of a record is STATE_CORRUPT`, async () => {
    await using w = await world();
    await writeFile(w.file, content);
    await assertCorrupt(w);
  });
}

s.test("a record of a newer release is STATE_CORRUPT, says so, and is never written over", async () => {
  await using w = await world();
  const newer = JSON.stringify({ ...JSON.parse(w.bytes.toString()), version: ENVELOPE_VERSION + 1 });
  await writeFile(w.file, newer);
  await assertCorrupt(w, w.store.read("web"), /version 2 from a newer release/);
  await assertCorrupt(w, w.store.write("web", 1) as Promise<never>);
  assert.equal(await readFile(w.file, "utf8"), newer);
});

s.test("a directory, a link or a FIFO in the place of a record is STATE_CORRUPT, without waiting", async () => {
  await using w = await world();
  await mkdir(join(w.directory, "dir.json"));
  await symlink("web.json", join(w.directory, "link.json"));
  await promisify(execFile)("mkfifo", [join(w.directory, "fifo.json")]);
  for (const id of ["dir", "link", "fifo"]) {
    const file = join(w.directory, `${id}.json`);
    await assertCorrupt({ ...w, file }, w.store.read(id));
  }
});

s.test("a corrupt record does not stop the others, is listed, and can be removed", async () => {
  await using w = await world();
  await w.store.create("db", "intact");
  await writeFile(w.file, w.bytes.subarray(0, 20));
  assert.equal(await w.store.list(), ["db", "web"]);
  assert.equal(await w.store.read("db"), "intact");
  await w.store.write("db", "written");
  assert.equal(await w.store.read("db"), "written");
  const error = await w.store.create("web", 1).catch((reason: unknown) => reason);
  assert.ok(isTapvisorError(error) && error.code === "ALREADY_EXISTS");
  await w.store.remove("web");
  assert.equal(await w.store.list(), ["db"]);
});

s.test("files are private: mode 0600 in a directory of mode 0700, made with its parents on first use", async () => {
  await using w = await world();
  await w.store.write("web", 1);
  assert.equal((await stat(w.file)).mode & 0o777, 0o600);
  assert.equal((await stat(w.directory)).mode & 0o777, 0o700);
});

s.test(
  "a file says its format, version, and how often it was written, and keeps the order of the record's keys out of the checksum",
  async () => {
    await using w = await world();
    await w.store.write("web", { b: 1, a: 2 });
    const first = JSON.parse(await readFile(w.file, "utf8"));
    await w.store.write("web", { a: 2, b: 1 });
    const second = JSON.parse(await readFile(w.file, "utf8"));
    assert.equal([first.format, first.version, first.generation, second.generation], ["tapvisor-state", 1, 2, 3]);
    assert.match(first.checksum, /^sha256:[0-9a-f]{64}$/);
    assert.equal(first.checksum, second.checksum);
  },
);

for (const value of [Number.NaN, Number.POSITIVE_INFINITY, 1n, () => {}, Symbol("x")]) {
  s.test(`a record with ${String(value)} is INVALID_INPUT and changes nothing`, async () => {
    await using w = await world();
    const error = await w.store.write("web", { deep: [value] } as unknown as Json).catch((reason: unknown) => reason);
    assert.ok(isTapvisorError(error) && error.code === "INVALID_INPUT", String(error));
    assert.equal(await w.store.read("web"), RECORD);
  });
}

s.test("a disk that refuses is STATE_IO naming the file and the system's word", async () => {
  await using w = await world();
  const blocked = createFsStore({ directory: join(w.file, "below-a-file") });
  const error = await blocked.create("web", 1).catch((reason: unknown) => reason);
  assert.ok(isTapvisorError(error) && error.code === "STATE_IO", String(error));
  assert.equal(error.data.errno, "ENOTDIR");
});

s.run();
