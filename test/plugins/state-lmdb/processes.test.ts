import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { quietCall } from "tapvisor/testing";
import * as assert from "uvu/assert";
import { loadLmdb } from "../../../plugins/state-lmdb/load-lmdb.ts";
import { createLmdbStore } from "../../../plugins/state-lmdb/state-store.ts";
import { startChild } from "../../support/child-process.ts";
import { rejects } from "../../support/rejects.ts";
import { suite } from "../../support/suite.ts";
import { tempDirectory } from "../../support/temp.ts";

const s = suite("state-lmdb processes");

async function world() {
  const temporary = await tempDirectory();
  const file = join(temporary.path, "state", "state.mdb");
  const lmdb = await loadLmdb();
  return { file, open: () => createLmdbStore({ file, lmdb }), [Symbol.asyncDispose]: () => temporary[Symbol.asyncDispose]() };
}

s.test("of two processes that create the same id, exactly one wins and the record is the winner's", async () => {
  await using w = await world();
  const start = () => startChild<{ id: string; won: boolean; error?: string }>(new URL("./create-child.ts", import.meta.url), [w.file]);
  await using one = start();
  await using two = start();
  await Promise.all([one.next(), two.next()]);
  let wins = 0;
  for (let round = 0; round < 100; round++) {
    const id = `race-${round}`;
    one.send(id);
    two.send(id);
    const reports = await Promise.all([one.next(), two.next()]);
    assert.equal(
      reports.map((report) => report?.error),
      [undefined, undefined],
    );
    assert.equal(reports.filter((report) => report?.won).length, 1, id);
    if (reports[0]?.won) wins++;
  }
  const store = w.open();
  const ids = await store.list();
  assert.is(ids.length, 100);
  const first = await store.read("race-0");
  const owners = await Promise.all(ids.map((id) => store.read(id)));
  const count = owners.filter((owner) => owner === first).length;
  assert.ok(count === wins || count === 100 - wins, `${count} records of one process, which won ${wins}`);
  await store.close();
});

s.test(
  "a process killed in the middle of a write leaves the old or the new record, and all that it was told is on disk",
  async () => {
    await using w = await world();
    const store = w.open();
    await store.create("web", { n: 0, filler: "" });
    await store.create("db", "beside it");
    let last = 0;
    for (let round = 0; round < 12; round++) {
      await using writer = startChild<number>(new URL("./write-child.ts", import.meta.url), [w.file, String(last + 1)]);
      for (let n = 0; n < 3 + round * 5; n++) last = (await writer.next()) ?? last;
      await writer.kill();
      for (let late = await writer.next(); late !== undefined; late = await writer.next()) last = late;
      const { n, filler } = (await store.read("web")) as { n: number; filler: string };
      assert.ok(n === last || n === last + 1, `${n} is there, ${last} was reported written`);
      assert.is(filler.length, (n * 7919) % 20_000);
      assert.is(await store.read("db"), "beside it");
      await store.write("web", { n, filler });
      last = n;
    }
    console.log(`${last} writes, 12 kills`);
    await store.close();
  },
  { timeoutMs: 60_000 },
);

s.test("a process that waits gets the lock of a holder that is killed", async () => {
  await using w = await world();
  await using holder = startChild<number>(new URL("./lock-child.ts", import.meta.url), [w.file]);
  const pid = await holder.next();
  const store = w.open();
  const error = await rejects(store.lock("web", quietCall({ timeoutMs: 300 })), "LOCKED");
  assert.equal(error.data, { id: "web", holder: pid });
  const waiting = store.lock("web", quietCall());
  await holder.kill();
  await (await waiting).release();
  await store.list();
  assert.equal(await readdir(join(w.file, "..", "locks")), []);
  await store.close();
});

s.test("two processes that write different records at once both find theirs, and each the other's", async () => {
  await using w = await world();
  const store = w.open();
  await store.create("web", { n: 0, filler: "" });
  await using writer = startChild<number>(new URL("./write-child.ts", import.meta.url), [w.file, "1"]);
  let last = 0;
  for (let n = 0; n < 50; n++) {
    await store.create(`mine-${n}`, n);
    last = (await writer.next()) ?? -1;
    assert.ok(((await store.read("web")) as { n: number }).n >= last, "what another process has written is seen at once");
  }
  await writer.kill();
  assert.is(last, 50);
  for (let n = 0; n < 50; n++) assert.is(await store.read(`mine-${n}`), n);
  await store.close();
});

s.run();
