import { join } from "node:path";
import * as assert from "uvu/assert";
import { createFsStore } from "../../../plugins/state-fs/state-store.ts";
import { startChild } from "../../support/child-process.ts";
import { suite } from "../../support/suite.ts";
import { tempDirectory } from "../../support/temp.ts";

interface Report {
  readonly id: string;
  readonly won: boolean;
  readonly error?: string;
}

const s = suite("state-fs create race");

s.test("of two processes that create the same id, exactly one wins and the record is the winner's", async () => {
  await using temporary = await tempDirectory();
  const directory = join(temporary.path, "state");
  await using one = startChild<Report>(new URL("./create-child.ts", import.meta.url), [directory]);
  await using two = startChild<Report>(new URL("./create-child.ts", import.meta.url), [directory]);
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
  const store = createFsStore({ directory });
  const ids = await store.list();
  assert.is(ids.length, 100);
  const first = await store.read("race-0");
  const owners = await Promise.all(ids.map((id) => store.read(id)));
  const count = owners.filter((owner) => owner === first).length;
  assert.ok(count === wins || count === 100 - wins, `${count} records of one process, which won ${wins}`);
});

s.run();
