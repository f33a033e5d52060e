import { setImmediate as turn } from "node:timers/promises";
import { pino } from "pino";
import { isTapvisorError, TapvisorError } from "tapvisor";
import { MemoryState } from "tapvisor/plugins/state-memory";
import * as assert from "uvu/assert";
import { createMemoryStore } from "../../plugins/state-memory/state-store.ts";
import type { HoldingKind, Json } from "../../src/contracts/holding.ts";
import type { Holders } from "../../src/engine/holders.ts";
import { HookRunner } from "../../src/engine/hook-runner.ts";
import { Journal } from "../../src/engine/journal.ts";
import { LateWork } from "../../src/engine/late-work.ts";
import type { SandboxRecord } from "../../src/engine/record.ts";
import { releaseHoldings } from "../../src/engine/release.ts";
import { type Transaction, type TransactionScope, transact } from "../../src/engine/transaction.ts";
import { suite } from "../support/suite.ts";

const s = suite("transaction");

type Step = "one" | "two" | "three";
const STEPS: readonly Step[] = ["one", "two", "three"];
const LONG_MS = 10_000;

interface Bench {
  readonly scope: TransactionScope;
  readonly state: MemoryState;
  /** What was acquired and released, and what `onRollback` was told, in order. */
  readonly events: string[];
  /** How an acquisition or a release of a kind behaves; nothing special by default. */
  readonly acquire: Record<string, (signal: AbortSignal) => Promise<unknown>>;
  readonly release: Record<string, (signal: AbortSignal) => Promise<unknown>>;
  run(story: (tx: Transaction<Step>) => Promise<unknown>, signal?: AbortSignal): Promise<TapvisorError>;
}

async function bench(releaseTimeoutMs = 50): Promise<Bench> {
  const state = new MemoryState();
  const record = { version: 1, id: "box", state: "creating", holdings: [], nextHolding: 1, containers: {} } as unknown as SandboxRecord;
  const journal = Journal.draft(createMemoryStore(state), record);
  await journal.store();
  const log = pino({ level: "silent" });
  const events: string[] = [];
  const acquire: Bench["acquire"] = {};
  const release: Bench["release"] = {};
  const kindOf = (kind: string): HoldingKind<Json, Json> => ({
    async acquire(_, { signal }) {
      events.push(`acquire ${kind}`);
      await acquire[kind]?.(signal);
      events.push(`granted ${kind}`);
      return `grant of ${kind}`;
    },
    async release({ grant }, { signal }) {
      events.push(`release ${kind}${grant === undefined ? " without a grant" : ""}`);
      await release[kind]?.(signal);
    },
  });
  const hooks = new HookRunner(log);
  hooks.viewFor("spy").onRollback.tapPromise(async ({ step, outcome, cause, failure }) => {
    events.push(`onRollback ${step} ${outcome} ${cause.message}${failure ? `: ${failure.message}` : ""}`);
    throw new Error("a tap that throws changes nothing");
  });
  const holders = { get: async (_: string, kind: string) => kindOf(kind) } as unknown as Holders;
  const scope: TransactionScope = { journal, holders, hooks, log, late: new LateWork(), probe: undefined, releaseTimeoutMs };
  return {
    scope,
    state,
    events,
    acquire,
    release,
    async run(story, signal) {
      const thrown = await transact(scope, { name: "test", steps: STEPS, sandbox: "box", signal }, story).catch((error: unknown) => error);
      assert.ok(isTapvisorError(thrown), String(thrown));
      return thrown as TapvisorError;
    },
  };
}

function newGate(): { readonly opened: Promise<void>; open(): void } {
  let open: () => void = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open: () => open() };
}

const get = (tx: Transaction<Step>, step: Step, timeoutMs = LONG_MS) => tx.acquire(step, { owner: "test:it", kind: step }, null, timeoutMs);
const fail = async () => {
  throw new Error("the step failed");
};
const holdings = ({ state }: Bench) =>
  (state.get("box") as unknown as SandboxRecord).holdings.map(({ step, status }) => `${step} ${status}`);

s.test("releases in reverse, tells onRollback of each, and gives the first error with what was undone", async () => {
  const it = await bench();
  const error = await it.run(async (tx) => {
    await get(tx, "one");
    await get(tx, "two");
    await tx.run("three", LONG_MS, fail);
  });
  assert.is(error.message, "the step failed");
  assert.equal(error.rollback, { undone: ["two", "one"], left: [] });
  assert.equal(it.events.slice(4), [
    "release two",
    "onRollback two released the step failed",
    "release one",
    "onRollback one released the step failed",
  ]);
  assert.equal(holdings(it), []);
});

s.test("writes the intent before it acquires, and the grant before the next step acquires", async () => {
  const it = await bench();
  it.acquire.one = async () => assert.equal(holdings(it), ["one pending"]);
  it.acquire.two = async () => assert.equal(holdings(it), ["one held", "two pending"]);
  const error = await it.run(async (tx) => {
    await get(tx, "one");
    await get(tx, "two");
    await tx.run("three", LONG_MS, fail);
  });
  assert.is(error.message, "the step failed");
});

s.test("releases also the step that failed, without a grant, since it may have taken effect", async () => {
  const it = await bench();
  it.acquire.two = fail;
  const error = await it.run(async (tx) => {
    await get(tx, "one");
    await get(tx, "two");
  });
  assert.equal(error.rollback?.undone, ["two", "one"]);
  assert.ok(it.events.includes("release two without a grant"));
});

s.test("attempts every release when one fails, and the first error stays the error", async () => {
  const it = await bench();
  it.release.one = async () => {
    throw new Error("stuck");
  };
  const error = await it.run(async (tx) => {
    await get(tx, "one");
    await get(tx, "two");
    await tx.run("three", LONG_MS, fail);
  });
  assert.is(error.message, "the step failed");
  assert.equal(error.rollback, { undone: ["two"], left: [{ step: "one", owner: "test:it", kind: "one", reason: "stuck" }] });
  assert.is(it.events.at(-1), "onRollback one failed the step failed: stuck");
  assert.equal(holdings(it), ["one failed"]);
});

s.test("tries a failed release once more when a later one has succeeded, and only then", async () => {
  const it = await bench();
  let down = false;
  it.release.one = async () => {
    down = true;
  };
  it.release.two = async () => {
    if (!down) throw new Error("its machine still runs");
  };
  const error = await it.run(async (tx) => {
    await get(tx, "one");
    await get(tx, "two");
    await tx.run("three", LONG_MS, fail);
  });
  assert.equal(error.rollback, { undone: ["one", "two"], left: [] });
  assert.equal(
    it.events.filter((event) => event.startsWith("release")),
    ["release two", "release one", "release two"],
  );

  const other = await bench();
  other.release.one = fail;
  await other.run(async (tx) => {
    await get(tx, "one");
    await tx.run("two", LONG_MS, fail);
  });
  assert.is(other.events.filter((event) => event === "release one").length, 1);
});

s.test("bounds a release that hangs, by a signal of its own: the caller's has fired long ago", async () => {
  const it = await bench(20);
  const caller = new AbortController();
  const seen: boolean[] = [];
  it.release.two = (signal) => {
    seen.push(signal.aborted);
    return new Promise(() => {});
  };
  it.release.one = async (signal) => void seen.push(signal.aborted);
  const error = await it.run(async (tx) => {
    await get(tx, "one");
    await get(tx, "two");
    caller.abort();
    await get(tx, "three");
  }, caller.signal);
  assert.is(error.code, "ABORTED");
  assert.equal(seen, [false, false, false]);
  assert.equal(error.rollback?.undone, ["one"]);
  assert.match(error.rollback?.left[0]?.reason ?? "", "no answer within 20 ms");
});

s.test("an acquisition that ends soon after its deadline is waited for, and released with its grant", async () => {
  const it = await bench();
  it.acquire.one = (signal) => new Promise((resolve) => signal.addEventListener("abort", () => setImmediate(resolve)));
  const error = await it.run((tx) => get(tx, "one", 10));
  assert.is(error.code, "TIMEOUT");
  assert.equal(it.events.slice(0, 3), ["acquire one", "granted one", "release one"]);
  assert.equal(holdings(it), []);
});

s.test("a grant that comes after the rollback is released when it comes", async () => {
  const it = await bench();
  const gate = newGate();
  it.acquire.one = () => gate.opened;
  const error = await it.run((tx) => get(tx, "one", 10));
  assert.equal(error.rollback, { undone: ["one"], left: [] });
  it.events.length = 0;
  gate.open();
  await turn();
  await turn();
  assert.equal(it.events, ["granted one", "release one"]);
  assert.equal(holdings(it), []);
});

s.test("a grant that comes after the rollback and cannot be released is recorded, also when the record was removed", async () => {
  for (const removed of [false, true]) {
    const it = await bench();
    const gate = newGate();
    it.acquire.one = () => gate.opened;
    await it.run((tx) => get(tx, "one", 10));
    if (removed) await it.scope.journal.remove();
    it.release.one = fail;
    gate.open();
    for (let turns = 0; turns < 5; turns++) await turn();
    assert.equal(holdings(it), ["one failed"]);
  }
});

s.test("nothing new begins on what a late acquisition is for, since its release goes by the same names", async () => {
  const it = await bench();
  const gate = newGate();
  it.acquire.one = () => gate.opened;
  await it.run((tx) => get(tx, "one", 10));
  const refused = await it.run((tx) => get(tx, "two"));
  assert.is(refused.code, "INVALID_STATE");
  assert.match(refused.message, "has not ended yet");
  assert.not.ok(it.events.includes("acquire two"));
  gate.open();
  for (let turns = 0; turns < 5; turns++) await turn();
  await transact(it.scope, { name: "again", steps: STEPS, sandbox: "box" }, (tx) => get(tx, "two"));
  assert.is(it.events.at(-1), "granted two");
});

s.test("nothing is acquired when the operation fails while the intent is written", async () => {
  const it = await bench();
  const caller = new AbortController();
  const { journal } = it.scope;
  const save = journal.save.bind(journal);
  let saves = 0;
  journal.save = async () => {
    if (++saves === 1) caller.abort();
    await turn();
    await save();
  };
  const error = await it.run((tx) => get(tx, "one"), caller.signal);
  assert.is(error.code, "ABORTED");
  await turn();
  assert.equal(
    it.events.filter((event) => event.startsWith("acquire")),
    [],
  );
});

s.test("a journal that cannot be written does not hide the first error, nor stop the releases", async () => {
  const it = await bench();
  const error = await it.run(async (tx) => {
    await get(tx, "one");
    await get(tx, "two");
    it.scope.journal.save = async () => {
      throw new TapvisorError("STATE_IO", "no space", { data: { file: "box", operation: "write", errno: "ENOSPC" } });
    };
    await tx.run("three", LONG_MS, fail);
  });
  assert.is(error.message, "the step failed");
  assert.equal(error.rollback, { undone: ["two", "one"], left: [] });
});

s.test("releases what plain functions hold in their place among the holdings, and stores nothing of them", async () => {
  const it = await bench();
  const error = await it.run(async (tx) => {
    await get(tx, "one");
    tx.defer("one", "hook:x", async () => void it.events.push("deferred"));
    await get(tx, "two");
    assert.equal(holdings(it), ["one held", "two pending"]);
    await tx.run("three", LONG_MS, fail);
  });
  assert.equal(error.rollback?.undone, ["two", "one", "one"]);
  assert.equal(
    it.events.filter((event) => /^release|^deferred/.test(event)),
    ["release two", "deferred", "release one"],
  );
});

s.test("undo releases the named steps of this operation only, for a retry inside it", async () => {
  const it = await bench();
  await transact(it.scope, { name: "earlier", steps: STEPS, sandbox: "box" }, (tx) => get(tx, "two"));
  await it.run(async (tx) => {
    await get(tx, "one");
    await get(tx, "two");
    await tx.undo("two");
    assert.equal(holdings(it), ["two held", "one held"]);
    await tx.run("three", LONG_MS, fail);
  });
  assert.equal(holdings(it), ["two held"]);
});

s.test("releaseHoldings releases only what is wanted, and saves once", async () => {
  const it = await bench();
  const operation = { name: "test", steps: STEPS, sandbox: "box" };
  await transact(it.scope, operation, async (tx) => {
    await get(tx, "one");
    await get(tx, "two");
  });
  const { journal } = it.scope;
  const save = journal.save.bind(journal);
  let saves = 0;
  journal.save = () => {
    saves++;
    return save();
  };
  assert.equal(await releaseHoldings(it.scope, ({ step }) => step === "one"), { undone: ["one"], left: [] });
  assert.is(saves, 1);
  assert.equal(holdings(it), ["two held"]);
});

s.run();
