import type { Json, StateStore } from "tapvisor/plugin";
import { isTapvisorError } from "tapvisor/plugin";
import * as assert from "uvu/assert";
import { createFsStore } from "../../../plugins/state-fs/state-store.ts";
import { suite } from "../../support/suite.ts";
import { FrailDisk, type Remains } from "./frail-disk.ts";

const s = suite("state-fs power cut");

const directory = "/state";
type Held = ReadonlyMap<string, Json>;

/** A story of writes: each verb with what the store holds when it has resolved. */
const STORY: readonly { readonly verb: (store: StateStore) => Promise<void>; readonly leaves: Held }[] = [
  { verb: (store) => store.create("web", "w0"), leaves: new Map([["web", "w0"]]) },
  { verb: (store) => store.write("web", { w: 1, filler: "x".repeat(300) }), leaves: new Map([["web", { w: 1, filler: "x".repeat(300) }]]) },
  { verb: (store) => store.write("web", "w2"), leaves: new Map([["web", "w2"]]) },
  { verb: (store) => store.create("db", "d0"), leaves: entries(["web", "w2"], ["db", "d0"]) },
  { verb: (store) => store.remove("web"), leaves: new Map([["db", "d0"]]) },
  { verb: (store) => store.create("web", "w3"), leaves: entries(["web", "w3"], ["db", "d0"]) },
  { verb: (store) => store.remove("db"), leaves: new Map([["web", "w3"]]) },
];

s.test("whenever the power goes, every record is the old or the new one, and what was reported written is there", async () => {
  const steps = await stepsOf();
  let cases = 0;
  for (let cutAt = 0; cutAt <= steps; cutAt++) {
    const disk = new FrailDisk();
    disk.cutAt = cutAt;
    const { before, after } = await tell(createFsStore({ directory, files: disk }));
    for (const remains of disk.remains()) {
      cases++;
      assert.ok(matches(await held(remains), before, after), `cut before step ${cutAt}`);
    }
  }
  console.log(`${cases} states of the disk after ${steps + 1} power cuts`);
  assert.ok(cases > 100);
});

s.test("after a power cut every verb works again", async () => {
  for (let cutAt = 0; cutAt <= (await stepsOf()); cutAt++) {
    const disk = new FrailDisk();
    disk.cutAt = cutAt;
    await tell(createFsStore({ directory, files: disk }));
    for (const remains of disk.remains()) {
      const store = createFsStore({ directory, files: new FrailDisk(remains) });
      for (const id of await store.list()) await store.remove(id);
      for (const { verb } of STORY) await verb(store);
      assert.equal(await store.read("web"), "w3");
    }
  }
});

s.test(
  "a disk that refuses any one step fails the verb with STATE_IO, leaves the old or the new record and no temporary file",
  async () => {
    let refusals = 0;
    for (let refuseAt = 0; refuseAt < (await stepsOf()); refuseAt++) {
      const disk = new FrailDisk();
      disk.refuseAt = refuseAt;
      const store = createFsStore({ directory, files: disk });
      const { before, after, error } = await tell(store);
      if (error === undefined) continue; // a step whose failure does no harm
      refusals++;
      assert.ok(isTapvisorError(error) && error.code === "STATE_IO" && error.data.errno === "ENOSPC", String(error));
      assert.ok(matches(await holdings(store), before, after));
      assert.equal(
        (await disk.list(directory)).filter((name) => name.startsWith(".tmp")),
        [],
      );
      if (after.size > before.size) assert.equal((await holdings(store)).size, before.size, "a failed create leaves its id free");
    }
    assert.ok(refusals > 15, `${refusals} refusals`);
  },
);

function entries(...pairs: readonly (readonly [string, Json])[]): Held {
  return new Map(pairs);
}

async function stepsOf(): Promise<number> {
  const disk = new FrailDisk();
  const { error } = await tell(createFsStore({ directory, files: disk }));
  if (error !== undefined) throw error;
  return disk.steps;
}

/** Tells the story until a verb fails: what was held before that verb, and what it would have made of it. */
async function tell(store: StateStore): Promise<{ before: Held; after: Held; error?: unknown }> {
  let before: Held = new Map();
  for (const { verb, leaves } of STORY) {
    try {
      await verb(store);
    } catch (error) {
      return { before, after: leaves, error };
    }
    before = leaves;
  }
  return { before, after: before };
}

const held = (remains: Remains): Promise<Held> => holdings(createFsStore({ directory, files: new FrailDisk(remains) }));

async function holdings(store: StateStore): Promise<Held> {
  const found = new Map<string, Json>();
  for (const id of await store.list()) found.set(id, (await store.read(id)) as Json);
  return found;
}

function matches(found: Held, ...allowed: readonly Held[]): boolean {
  return allowed.some((each) => JSON.stringify([...each].sort()) === JSON.stringify([...found].sort()));
}

s.run();
