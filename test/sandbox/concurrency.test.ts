import { spawn } from "node:child_process";
import { once } from "node:events";
import { setImmediate as turn } from "node:timers/promises";
import { createEngine, definePlugin, type Engine, isTapvisorError } from "tapvisor";
import { identifyProcess, type Json, type ProcessIdentity } from "tapvisor/plugin";
import { presetFake } from "tapvisor/plugins/preset-fake";
import * as assert from "uvu/assert";
import { createMemoryStore } from "../../plugins/state-memory/state-store.ts";
import type { StepEvent } from "../../src/engine/probe.ts";
import { type FakeEngine, fakeEngine } from "../support/fake-engine.ts";
import { quiet } from "../support/fault-case.ts";
import { disagreements } from "../support/ledger.ts";
import { suite } from "../support/suite.ts";

const s = suite("concurrency");

async function codeOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => "ok",
    (error: unknown) => (isTapvisorError(error) ? error.code : String(error)),
  );
}

/** The containers in the order of what happened to them, each run of events of one as one entry. */
function runsOf(events: readonly string[]): string[] {
  return events.filter((event, index) => event !== events[index - 1]);
}

s.test("creates in one sandbox at once do not interleave, nor do their rollbacks", async () => {
  const order: string[] = [];
  const failing = (container: string) => Number(container.slice(1)) % 2 === 1;
  const probe = ({ phase, step, container }: StepEvent) => {
    if (container === undefined) return;
    order.push(container);
    if (phase === "before" && step === "commit" && failing(container)) throw new Error("injected");
  };
  const spy = definePlugin("spy", (ctx) => {
    ctx.hooks.onRollback.tapPromise(async ({ container }) => {
      await turn();
      if (container !== undefined) order.push(container);
    });
  });
  await using fake = await fakeEngine({ probe, plugins: [spy()] });
  const sandbox = await fake.engine.runSandbox({ id: "box" });
  const ids = Array.from({ length: 8 }, (_, index) => `c${index}`);
  const codes = await Promise.all(ids.map((id) => codeOf(sandbox.createContainer({ id, rootfs: fake.rootfs, command: ["sleep", "60"] }))));
  assert.equal(
    codes,
    ids.map((id) => (failing(id) ? "INTERNAL" : "ok")),
  );
  assert.equal(runsOf(order).sort(), ids, "each in one piece");
  assert.equal(
    sandbox.containers().map(({ id }) => id),
    ids.filter((id) => !failing(id)),
  );
  const touched = fake.world.calls.flatMap(({ container }) => container ?? []);
  assert.equal(runsOf(touched).sort(), ids, "each in one piece in the guest, too");
  assert.equal(disagreements(await fake.everything()), []);
});

s.test("verbs on several containers at once, some of which fail, leave a true ledger and nothing waiting", async () => {
  let events = 0;
  let armed = false;
  const probe = () => {
    if (armed && ++events % 11 === 0) throw new Error("injected");
  };
  await using fake = await fakeEngine({ probe });
  const sandbox = await fake.engine.runSandbox({ id: "box" });
  armed = true;
  const one = async (id: string) => {
    for (let round = 0; round < 6; round++) {
      const options = { id, rootfs: fake.rootfs, command: ["sleep", "60"] };
      if (!sandbox.containers().some((each) => each.id === id)) await codeOf(sandbox.createContainer(options));
      if (!sandbox.containers().some((each) => each.id === id)) continue;
      const container = sandbox.container(id);
      await Promise.all([codeOf(container.start()), codeOf(container.kill("SIGCONT")), codeOf(container.stop())]);
      await Promise.all([codeOf(container.delete()), codeOf(container.start())]);
    }
  };
  await Promise.all(["a", "b", "c", "d"].map(one));
  await quiet();
  assert.ok(events > 200, String(events));
  armed = false;
  assert.equal(disagreements(await fake.everything()), []);
});

s.test("stop, delete and creates of one sandbox at once end, and leave a true ledger", async () => {
  for (let round = 0; round < 10; round++) {
    await using fake = await fakeEngine();
    const sandbox = await fake.engine.runSandbox({ id: "box" });
    const create = () => codeOf(sandbox.run({ rootfs: fake.rootfs, command: ["sleep", "60"] }));
    await Promise.all([
      create(),
      codeOf(sandbox.stop()),
      create(),
      codeOf(sandbox.delete()),
      create(),
      codeOf(sandbox.stop({ force: true })),
    ]);
    await quiet();
    assert.equal(disagreements(await fake.everything()), []);
  }
});

s.test("a VM that dies in the middle of several verbs ends them all, and what it held is given back", async () => {
  for (const after of [1, 5, 9, 13, 17, 21]) {
    await using fake = await fakeEngine();
    const sandbox = await fake.engine.runSandbox({ id: "box" });
    const work = ["a", "b", "c"].map((id) => codeOf(sandbox.run({ id, rootfs: fake.rootfs, command: ["sleep", "60"] })));
    for (let turns = 0; turns < after; turns++) await turn();
    fake.world.killVm("box");
    await Promise.all(work);
    assert.is((await sandbox.status()).state, "stopped");
    const { world, records, files } = await fake.everything();
    assert.equal([world.vms, files, records[0]?.holdings], [[], [], []]);
  }
});

/** A process that lives as long as it is needed and does nothing: it lends its identity. */
async function newProcess(): Promise<AsyncDisposable & { readonly identity: ProcessIdentity }> {
  const child = spawn("sleep", ["600"], { stdio: "ignore" });
  await once(child, "spawn");
  const identity = await identifyProcess(child.pid ?? 0);
  assert.ok(identity);
  return {
    identity,
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await once(child, "exit");
    },
  };
}

/** An engine on the same records and world that every other engine takes for one of another live process. */
async function engineOf(identity: ProcessIdentity, { world, state, directory }: FakeEngine): Promise<Engine> {
  const me = await identifyProcess(process.pid);
  assert.ok(me);
  const swapped = (record: Json, from: ProcessIdentity, to: ProcessIdentity): Json => {
    const { owner } = record as { owner?: ProcessIdentity | null };
    return owner?.pid === from.pid ? { ...(record as object), owner: { ...to } } : record;
  };
  const store = createMemoryStore(state);
  const plugin = definePlugin("state-memory", (ctx) => {
    ctx.provide("stateStore", "memory", () => ({
      ...store,
      create: (id, record) => store.create(id, swapped(record, me, identity)),
      write: (id, record) => store.write(id, swapped(record, me, identity)),
      async read(id) {
        const record = await store.read(id);
        return record === undefined ? undefined : swapped(record, identity, me);
      },
    }));
  });
  return createEngine({ preset: presetFake({ world, state }), plugins: [plugin()], root: `${directory}/root` });
}

s.test("of several processes that attach to a sandbox at once exactly one gets it, time after time", async () => {
  await using fake = await fakeEngine();
  await using a = await newProcess();
  await using b = await newProcess();
  await using c = await newProcess();
  const first = await engineOf(a.identity, fake);
  const sandbox = await first.runSandbox({ id: "box", detached: true });
  await sandbox.run({ id: "web", rootfs: fake.rootfs, command: ["sleep", "60"] });
  await first.close();
  for (let round = 0; round < 8; round++) {
    const engines = await Promise.all([a, b, c].map(({ identity }) => engineOf(identity, fake)));
    const codes = await Promise.all(engines.map((engine) => codeOf(engine.sandbox("box"))));
    assert.equal(codes.slice().sort(), ["LOCKED", "LOCKED", "ok"]);
    assert.equal(disagreements(await fake.everything()), []);
    await Promise.all(engines.map((engine) => engine.close()));
  }
  assert.is((await fake.everything()).world.vms[0]?.guest.containers[0]?.state, "running");
  const last = await engineOf(b.identity, fake);
  await (await last.sandbox("box")).stop();
  await (await last.sandbox("box")).delete();
  await last.close();
  const { world, records, files } = await fake.everything();
  assert.equal([world.vms, records, files], [[], [], []]);
});

s.test(
  "two processes that do verbs on one sandbox, attach to it, let go of it and collect, at once, corrupt nothing and never wait for ever",
  async () => {
    await using fake = await fakeEngine();
    await using a = await newProcess();
    await using b = await newProcess();
    const codes = new Set<string>();
    const work = async (identity: ProcessIdentity, name: string) => {
      for (let round = 0; round < 12; round++) {
        const engine = await engineOf(identity, fake);
        const note = async (did: Promise<unknown>) => void codes.add(await codeOf(did));
        await note(engine.runSandbox({ id: "box", detached: true }));
        const sandbox = await engine.sandbox("box").catch(() => undefined);
        if (sandbox) {
          const run = () => sandbox.run({ id: name, rootfs: fake.rootfs, command: ["sleep", "60"] });
          await Promise.all([note(run()), note(engine.gc()), note(sandbox.status())]);
          if (round % 3 === 2) await note(sandbox.stop({ force: true }).then(() => sandbox.delete()));
        }
        await note(engine.gc());
        await engine.close();
        await quiet();
      }
    };
    await Promise.all([work(a.identity, "a"), work(b.identity, "b")]);
    await quiet();
    assert.equal(disagreements(await fake.everything()), []);
    for (const code of codes) assert.ok(["ok", "ALREADY_EXISTS", "LOCKED", "NOT_FOUND"].includes(code), code);
    assert.ok(codes.has("ok"));
  },
);

s.test("a process's collections never take what another live one is making or has", async () => {
  await using fake = await fakeEngine();
  await using a = await newProcess();
  await using b = await newProcess();
  const mine = await engineOf(a.identity, fake);
  const other = await engineOf(b.identity, fake);
  let done = false;
  let kept = 0;
  const collecting = async () => {
    while (!done) {
      const report = await other.gc();
      assert.equal([report.collected, report.failed, report.corrupt], [[], [], []]);
      kept += report.kept.length;
      await turn(); // all of it is in memory: it would leave the other no turn
    }
  };
  const working = async (id: string) => {
    for (let time = 0; time < 5; time++) {
      const sandbox = await mine.runSandbox({ id });
      await sandbox.run({ rootfs: fake.rootfs, command: ["sleep", "60"] });
      await sandbox.stop();
      await sandbox.delete();
    }
  };
  const work = Promise.all([working("a"), working("b")]).finally(() => {
    done = true;
  });
  await Promise.all([collecting(), work]);
  assert.ok(kept > 10, String(kept));
  await mine.close();
  await other.close();
  const { world, records, files } = await fake.everything();
  assert.equal([world.vms, records, files], [[], [], []]);
});

s.run();
