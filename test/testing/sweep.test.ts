import { mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import { createEngine } from "tapvisor";
import { definePlugin, type Hypervisor, type RootfsStorage } from "tapvisor/plugin";
import { agentFake } from "tapvisor/plugins/agent-fake";
import { hypervisorFake } from "tapvisor/plugins/hypervisor-fake";
import { rootfsDir } from "tapvisor/plugins/rootfs-dir";
import { MemoryState, stateMemory } from "tapvisor/plugins/state-memory";
import { FakeWorld, type Faulty, sweep, withFaults } from "tapvisor/testing";
import * as assert from "uvu/assert";
import { providerOf } from "../support/fake-guest.ts";
import { suite } from "../support/suite.ts";
import { tempDirectory } from "../support/temp.ts";

const s = suite("sweep");

/** A hypervisor and a storage of a third party's, and a scenario that uses them; `volumes` is what the storage holds. */
async function thirdParty(options: { readonly leaky?: boolean } = {}) {
  const temporary = await tempDirectory();
  const [root, rootfs] = ["root", "rootfs"].map((name) => join(temporary.path, name)) as [string, string];
  await mkdir(rootfs);
  const world = new FakeWorld();
  const state = new MemoryState();
  const volumes = new Set<string>();
  const hypervisor = withFaults(await providerOf<Hypervisor>(hypervisorFake({ world }), "hypervisor", "fake"));
  const honest = await providerOf<RootfsStorage>(rootfsDir(), "rootfs", "dir", join(temporary.path, "state"));
  const storage: Faulty<RootfsStorage> = withFaults<RootfsStorage>({
    ...honest,
    holdings: {
      rootfs: {
        async acquire(intent, call) {
          volumes.add(intent.container);
          return honest.holdings.rootfs.acquire(intent, call);
        },
        async release({ intent, grant }) {
          if (grant || !options.leaky) volumes.delete(intent.container);
        },
      },
    },
  });
  const mine = definePlugin("mine", (ctx) => {
    ctx.provide("hypervisor", "mine", () => hypervisor.provider);
    ctx.provide("rootfs", "mine", () => storage.provider);
  });
  const preset = {
    name: "mine",
    plugins: [hypervisorFake({ world }), agentFake({ world }), stateMemory({ state }), mine()],
    slots: { hypervisor: "mine", guest: "none", agent: "fake", stateStore: "memory", rootfs: "mine" },
  };
  const open = (probe?: Parameters<Parameters<typeof sweep>[0]>[0]) => createEngine({ preset, root, ...(probe ? { probe } : {}) });
  return {
    hypervisor,
    storage,
    async run(probe: Parameters<Parameters<typeof sweep>[0]>[0]) {
      await using engine = await open(probe);
      await using sandbox = await engine.runSandbox({ id: "box", boot: { retries: 0 } });
      const container = await sandbox.run({ id: "web", rootfs, command: ["true"] });
      await container.wait();
      await container.delete();
    },
    async recover() {
      await using engine = await open();
      await engine.gc();
    },
    snapshot: async () => ({
      volumes: [...volumes],
      world: world.snapshot(),
      records: state.ids(),
      files: await readdir(join(root, "run"), { recursive: true }).catch(() => []),
    }),
    [Symbol.asyncDispose]: () => temporary[Symbol.asyncDispose](),
  };
}

s.test("an honest plugin leaks nothing at any step, nor inside any call of its own", async () => {
  await using party = await thirdParty();
  const report = await sweep(party.run, { ...party, inside: [party.hypervisor, party.storage] });
  console.log(`${report.cases.length} cases, ${report.leaks.length} leaks`);
  assert.equal(
    report.leaks.map(({ at }) => at),
    [],
  );
  assert.equal(
    report.unreached.map(({ at }) => at),
    [],
  );
  assert.equal(
    report.swallowed.map(({ at }) => at),
    [],
  );
  assert.ok(report.cases.length >= 40, String(report.cases.length));
});

s.test("a plugin that cannot release by its intent alone is found, by the call in which it failed", async () => {
  await using party = await thirdParty({ leaky: true });
  const report = await sweep(party.run, { ...party, phases: [], inside: [party.storage] });
  assert.equal(
    report.leaks.map(({ at, before, after }) => [at, (before as { volumes: string[] }).volumes, (after as { volumes: string[] }).volumes]),
    [[{ call: "rootfs.acquire", when: "after", nth: 1 }, [], ["web"]]],
  );
});

s.test("an error that the scenario swallows is reported", async () => {
  await using party = await thirdParty();
  const report = await sweep((probe) => party.run(probe).catch(() => {}), { ...party, phases: ["before"] });
  assert.ok(report.swallowed.length > 0);
  assert.is(report.swallowed.length, report.cases.length);
});

s.test("a fault that is not reached is reported: the scenario does something else the second time", async () => {
  let runs = 0;
  const report = await sweep(
    async (probe) => {
      await probe({ phase: "before", step: runs++ === 0 ? "only once" : "later" });
    },
    { snapshot: async () => null },
  );
  assert.equal(
    report.unreached.map(({ at }) => at),
    [{ step: "only once", phase: "before", nth: 1 }],
  );
});

s.test("a scenario that leaves something by itself is refused", async () => {
  let left = 0;
  const thrown = await sweep(async () => void left++, { snapshot: async () => left }).then(() => "passed", String);
  assert.match(thrown, "even when nothing fails");
});

s.run();
