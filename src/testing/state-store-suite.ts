import assert from "node:assert/strict";
import { type ErrorCode, isTapvisorError } from "../base/errors.ts";
import type { Json } from "../contracts/holding.ts";
import type { StateStore } from "../contracts/state-store.ts";
import { quietCall } from "./quiet-call.ts";
import type { TestRegistrar } from "./registrar.ts";

/** Storage that several stores can be opened on, as several processes would. */
export interface StateStoreFixture extends AsyncDisposable {
  open(): Promise<StateStore>;
}

const RECORD: Json = {
  version: 1,
  text: "grüße \u2028 \ud83d\ude80",
  list: [1, -0.5, 2 ** 53 - 1, null, true],
  nested: { "": {}, __proto__x: [] },
};

/**
 * What every state store must do, as tests. `make` gives fresh, empty storage for each.
 *
 * @example
 * stateStoreSuite("my store", makeMyStore, { suite: { test: (name, body) => void test(name, body) } });
 */
export function stateStoreSuite(name: string, make: () => Promise<StateStoreFixture>, { suite }: { readonly suite: TestRegistrar }): void {
  const check = (behaviour: string, body: (store: StateStore, fixture: StateStoreFixture) => Promise<void>) =>
    suite.test(`${name}: ${behaviour}`, async () => {
      await using fixture = await make();
      const store = await fixture.open();
      try {
        await body(store, fixture);
      } finally {
        await store.close();
      }
    });

  check("an empty store lists nothing, reads undefined and removes with success", async (store) => {
    assert.deepEqual(await store.list(), []);
    assert.equal(await store.read("web"), undefined);
    await store.remove("web");
  });

  check("read() gives what create() and the last write() stored", async (store) => {
    await store.create("web", RECORD);
    assert.deepEqual(await store.read("web"), RECORD);
    await store.write("web", { state: "running" });
    await store.write("web", [1, "two"]);
    assert.deepEqual(await store.read("web"), [1, "two"]);
    await store.write("web", null);
    assert.equal(await store.read("web"), null);
  });

  check("a field that is undefined is not stored", async (store) => {
    await store.create("web", { kept: 1, dropped: undefined });
    assert.deepEqual(await store.read("web"), { kept: 1 });
  });

  check("a record does not change with the object it was made of, nor with what read() gave", async (store) => {
    const record = { list: [1] };
    await store.create("web", record);
    record.list.push(2);
    const first = (await store.read("web")) as { list: number[] };
    first.list.push(3);
    assert.deepEqual(await store.read("web"), { list: [1] });
  });

  check("create() of a taken id is ALREADY_EXISTS and changes nothing", async (store) => {
    await store.create("web", 1);
    await rejects(store.create("web", 2), "ALREADY_EXISTS");
    assert.equal(await store.read("web"), 1);
  });

  check("of many creates of one id at once, through two handles, exactly one wins", async (store, fixture) => {
    const other = await fixture.open();
    const attempts = Array.from({ length: 16 }, (_, n) => (n % 2 ? store : other).create("web", n).then(() => n));
    const results = await Promise.allSettled(attempts);
    const winners = results.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
    assert.equal(winners.length, 1);
    assert.equal(await store.read("web"), winners[0]);
    for (const result of results) if (result.status === "rejected") assertCode(result.reason, "ALREADY_EXISTS");
    await other.close();
  });

  check("write() without a record is NOT_FOUND and makes none", async (store) => {
    await rejects(store.write("web", 1), "NOT_FOUND");
    assert.equal(await store.read("web"), undefined);
    assert.deepEqual(await store.list(), []);
  });

  check("writes that are not awaited end with the last one", async (store) => {
    await store.create("web", 0);
    await Promise.all(Array.from({ length: 25 }, (_, n) => store.write("web", { n, filler: "x".repeat(25 - n) })));
    assert.deepEqual(await store.read("web"), { n: 24, filler: "x" });
  });

  check("a removed id is gone, is removed again with success, and can be created again", async (store) => {
    await store.create("web", 1);
    await store.remove("web");
    await store.remove("web");
    assert.equal(await store.read("web"), undefined);
    assert.deepEqual(await store.list(), []);
    await store.create("web", 2);
    assert.equal(await store.read("web"), 2);
  });

  check("list() is sorted and holds nothing but the ids", async (store) => {
    const ids = ["web-2", "web", "Web", "a.b", "a.json", "z_9", "web.lock"];
    for (const id of ids) await store.create(id, id);
    const lock = await store.lock("web", quietCall());
    assert.deepEqual(await store.list(), [...ids].sort());
    await lock.release();
    for (const id of ids) assert.equal(await store.read(id), id);
  });

  check("records outlive the handle that wrote them", async (store, fixture) => {
    await store.create("web", RECORD);
    const later = await fixture.open();
    assert.deepEqual(await later.read("web"), RECORD);
    await later.write("web", 2);
    assert.equal(await store.read("web"), 2);
    await later.close();
  });

  for (const id of ["", ".", "..", "../web", "a/b", "a\0b", "1web", "-web", "web.", "x".repeat(32), "wéb", "a b"]) {
    check(`the id ${JSON.stringify(id)} is INVALID_INPUT for every verb`, async (store) => {
      await rejects(store.create(id, 1), "INVALID_INPUT");
      await rejects(store.write(id, 1), "INVALID_INPUT");
      await rejects(store.read(id), "INVALID_INPUT");
      await rejects(store.remove(id), "INVALID_INPUT");
      await rejects(store.lock(id, quietCall()), "INVALID_INPUT");
    });
  }

  check("lock() excludes another handle until release(), which may be called twice", async (store, fixture) => {
    const other = await fixture.open();
    const first = await store.lock("web", quietCall());
    let second = false;
    const waiting = other.lock("web", quietCall()).then((lock) => {
      second = true;
      return lock;
    });
    await rejects(other.lock("web", quietCall({ timeoutMs: 50 })), "LOCKED"); // whoever waits, too
    assert.equal(second, false);
    await first.release();
    const lock = await waiting;
    await first.release(); // must not free the other's lock
    await rejects(store.lock("web", quietCall({ timeoutMs: 50 })), "LOCKED");
    await lock.release();
    await (await store.lock("web", quietCall())).release();
    await other.close();
  });

  check("lock() is LOCKED with the holder's pid when the signal fires, at once when it has fired", async (store) => {
    const lock = await store.lock("web", quietCall());
    for (const signal of [AbortSignal.timeout(20), AbortSignal.abort()]) {
      const error = await rejects(store.lock("web", quietCall({ signal })), "LOCKED");
      assert.deepEqual(error.data, { id: "web", holder: process.pid });
    }
    await lock.release();
    await rejects(store.lock("web", quietCall({ signal: AbortSignal.abort() })), "LOCKED");
    await (await store.lock("web", quietCall())).release();
  });

  check("locks of different ids do not meet, and a lock needs no record", async (store) => {
    const locks = await Promise.all(["a", "b", "a.b"].map((id) => store.lock(id, quietCall())));
    for (const lock of locks) await lock.release();
    assert.deepEqual(await store.list(), []);
  });

  check("one holder at a time among many waiters of two handles", async (store, fixture) => {
    const other = await fixture.open();
    let holders = 0;
    let most = 0;
    let turns = 0;
    const worker = async (mine: StateStore) => {
      for (let round = 0; round < 5; round++) {
        const lock = await mine.lock("web", quietCall());
        most = Math.max(most, ++holders);
        await new Promise(setImmediate);
        holders--;
        turns++;
        await lock.release();
      }
    };
    await Promise.all([store, other, store, other, store, other].map(worker));
    assert.deepEqual({ most, turns }, { most: 1, turns: 30 });
    await other.close();
  });

  check("close() gives back the locks still held", async (store, fixture) => {
    const other = await fixture.open();
    await other.lock("web", quietCall());
    await other.close();
    await (await store.lock("web", quietCall())).release();
  });
}

async function rejects(promise: Promise<unknown>, code: ErrorCode) {
  const error = await promise.then(
    () => assert.fail(`wanted a rejection with ${code}`),
    (reason: unknown) => reason,
  );
  return assertCode(error, code);
}

function assertCode(error: unknown, code: ErrorCode) {
  if (!isTapvisorError(error)) throw error;
  assert.equal(error.code, code, error.message);
  return error;
}
