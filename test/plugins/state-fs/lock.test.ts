import { mkdir, readdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { currentBootId, identifyProcess, isTapvisorError } from "tapvisor/plugin";
import { quietCall } from "tapvisor/testing";
import * as assert from "uvu/assert";
import { createFsStore } from "../../../plugins/state-fs/state-store.ts";
import { breakLock, lockPath, plant, readHolder } from "../../../src/base/lock-file.ts";
import { startChild } from "../../support/child-process.ts";
import { suite } from "../../support/suite.ts";
import { tempDirectory } from "../../support/temp.ts";

const s = suite("state-fs lock");

const NONCE = "0123456789abcdef0123456789abcdef";
const BOOT = currentBootId();
const OTHER_BOOT = "00000000-0000-0000-0000-000000000000";

async function world() {
  const temporary = await tempDirectory();
  const locks = join(temporary.path, "locks");
  await mkdir(locks);
  return {
    directory: temporary.path,
    locks,
    lock: lockPath(locks, "web"),
    store: createFsStore({ directory: temporary.path }),
    [Symbol.asyncDispose]: () => temporary[Symbol.asyncDispose](),
  };
}

/** The text of a lock whose process is gone: this pid at another time. */
const dead = (nonce = NONCE) => `${process.pid}:1:${BOOT}:${nonce}`;

s.test(
  "eight processes take the lock 50 times each, four are killed in between: never two at once, and nobody waits for ever",
  async () => {
    await using w = await world();
    const start = (hangAt: number) =>
      startChild<{ holding: boolean; rounds: number; violations: number }>(new URL("./lock-child.ts", import.meta.url), [
        w.directory,
        join(w.directory, "witness"),
        "50",
        String(hangAt),
      ]);
    await using hang1 = start(3);
    await using hang2 = start(11);
    await using hang3 = start(29);
    await using killed = start(-1);
    await using a = start(-1);
    await using b = start(-1);
    await using c = start(-1);
    await using d = start(-1);

    const run = async (child: typeof a, killAt: (report: { holding: boolean; rounds: number }) => boolean) => {
      let last = { rounds: 0, violations: 0 };
      for (let report = await child.next(); report; report = await child.next()) {
        last = report;
        if (killAt(report)) await child.kill();
      }
      return { ...last, ...(await child.ended) };
    };
    const results = await Promise.all([
      ...[hang1, hang2, hang3].map((child) => run(child, (report) => report.holding)),
      run(killed, (report) => report.rounds >= 20),
      ...[a, b, c, d].map((child) => run(child, () => false)),
    ]);

    assert.equal(
      results.map((result) => result.violations),
      Array(8).fill(0),
    );
    assert.equal(
      results.map((result) => result.signal),
      [...Array(4).fill("SIGKILL"), ...Array(4).fill(null)],
    );
    assert.equal(
      results.slice(0, 3).map((result) => result.rounds),
      [3, 11, 29],
    );
    assert.equal(
      results.slice(4).map((result) => [result.rounds, result.code]),
      Array(4).fill([50, 0]),
    );

    await (await w.store.lock("web", quietCall())).release();
    await w.store.list();
    assert.equal(await readdir(w.locks), [], "no lock and no claim is left");
  },
  { timeoutMs: 120_000 },
);

s.test("a process that waits gets the lock of a holder that is killed, and LOCKED names that holder before", async () => {
  await using w = await world();
  await using holder = startChild<{ holding: boolean }>(new URL("./lock-child.ts", import.meta.url), [
    w.directory,
    join(w.directory, "witness"),
    "1",
    "0",
  ]);
  assert.ok((await holder.next())?.holding);
  const pid = (await readHolder(w.lock))?.identity?.pid;
  const error = await w.store.lock("web", quietCall({ timeoutMs: 300 })).catch((reason: unknown) => reason);
  assert.ok(isTapvisorError(error) && error.code === "LOCKED");
  assert.equal(error.data, { id: "web", holder: pid });
  const waiting = w.store.lock("web", quietCall());
  await holder.kill();
  await (await waiting).release();
});

for (const [what, text] of [
  ["whose pid belongs to a later process", dead()],
  ["of an earlier boot", `${process.pid}:1:${OTHER_BOOT}:${NONCE}`],
  ["with a text that no process wrote", "garbage"],
] as const) {
  s.test(`a lock ${what} is broken by one of many at once`, async () => {
    for (let round = 0; round < 20; round++) {
      await using w = await world();
      await symlink(text, w.lock);
      let holders = 0;
      let most = 0;
      await Promise.all(
        Array.from({ length: 10 }, async () => {
          const lock = await createFsStore({ directory: w.directory }).lock("web", quietCall());
          most = Math.max(most, ++holders);
          await new Promise(setImmediate);
          holders--;
          await lock.release();
        }),
      );
      assert.equal(most, 1);
      assert.equal(await readdir(w.locks), []);
    }
  });
}

s.test("what a power cut left in the place of a lock, an empty file, is broken", async () => {
  await using w = await world();
  await writeFile(w.lock, "");
  await (await w.store.lock("web", quietCall())).release();
});

s.test("a live process's lock is kept however old, also by list()", async () => {
  await using w = await world();
  const self = await identifyProcess(process.pid);
  await symlink(`${self?.pid}:${self?.startTime}:${self?.bootId}:${NONCE}`, w.lock);
  await w.store.list();
  const error = await w.store.lock("web", quietCall({ timeoutMs: 500 })).catch((reason: unknown) => reason);
  assert.ok(isTapvisorError(error) && error.code === "LOCKED");
  assert.equal((await readHolder(w.lock))?.nonce, NONCE);
});

s.test("a breaker that comes late, after the lock was broken and taken anew, takes nothing away", async () => {
  await using w = await world();
  await symlink(dead(), w.lock);
  const seen = await readHolder(w.lock);
  assert.ok(seen);
  const lock = await w.store.lock("web", quietCall());
  const mine = await readHolder(w.lock);
  assert.is(await breakLock(w.locks, "web", seen), true);
  assert.equal(await readHolder(w.lock), mine);
  await lock.release();
  assert.equal(await readdir(w.locks), []);
});

s.test("a breaker that is at work is waited for", async () => {
  await using w = await world();
  await symlink(dead(), w.lock);
  const claim = join(w.locks, `web.break.${NONCE}.0`);
  await plant(claim, NONCE); // this process, alive
  const error = await w.store.lock("web", quietCall({ timeoutMs: 400 })).catch((reason: unknown) => reason);
  assert.ok(isTapvisorError(error) && error.code === "LOCKED");
  assert.equal((await readHolder(w.lock))?.nonce, NONCE);
});

s.test("breakers that died before and after they unlinked are passed over, and nothing of them is left", async () => {
  await using w = await world();
  await symlink(dead(), w.lock);
  await symlink(dead(), join(w.locks, `web.break.${NONCE}.0`));
  await symlink(dead(), join(w.locks, `web.break.${NONCE}.1`));
  await symlink(dead(), join(w.locks, `db.break.${NONCE}.0`));
  await (await w.store.lock("web", quietCall())).release();
  assert.equal(await readdir(w.locks), [`db.break.${NONCE}.0`]);
  await w.store.list();
  assert.equal(await readdir(w.locks), []);
});

s.test("list() removes what dead processes were writing and holding, and nothing else", async () => {
  await using w = await world();
  const self = await identifyProcess(process.pid);
  const live = `.tmp-${self?.pid}-${self?.startTime}-${self?.bootId}-0123456789abcdef`;
  const stale = [`.tmp-${process.pid}-1-${BOOT}-0123456789abcdef`, `.tmp-${process.pid}-${self?.startTime}-${OTHER_BOOT}-0123456789abcdef`];
  for (const name of [...stale, live, ".tmp-foreign", "notes.txt"]) await writeFile(join(w.directory, name), "");
  await symlink(dead(), w.lock);
  await w.store.create("web", 1);
  assert.equal(await w.store.list(), ["web"]);
  assert.equal((await readdir(w.directory)).sort(), [".tmp-foreign", live, "locks", "notes.txt", "web.json"].sort());
  assert.equal(await readdir(w.locks), []);
});

s.run();
