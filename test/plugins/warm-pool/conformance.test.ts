import { readdir, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createEngine } from "tapvisor";
import type { Hypervisor, PluginContext } from "tapvisor/plugin";
import { type WarmPoolOptions, warmPool } from "tapvisor/plugins/warm-pool";
import { hypervisorSuite, quietCall } from "tapvisor/testing";
import * as assert from "uvu/assert";
import { rejects } from "../../support/rejects.ts";
import { suite } from "../../support/suite.ts";
import { fakeHypervisorFixture } from "../../testing/support/fake-fixtures.ts";

const s = suite("warm pool conformance");

/** The pool over another hypervisor, without an engine. */
async function over(hypervisor: Hypervisor, stateDirectory: string): Promise<Hypervisor & { close(): Promise<void> }> {
  let close = async () => {};
  let made: (() => unknown) | undefined;
  const context = {
    log: quietCall().log,
    stateDirectory,
    hooks: { afterCreate: { tapPromise() {} }, afterStart: { tapPromise() {} } },
    use: async () => hypervisor,
    provide: (_slot: string, _name: string, make: () => unknown) => {
      made = make;
    },
    onGc() {},
    onClose: (work: () => Promise<void>) => {
      close = work;
    },
  };
  await warmPool({ over: "fake" }).apply(context as unknown as PluginContext);
  return { ...((await made?.()) as Hypervisor), close: () => close() };
}

async function fixture() {
  const base = await fakeHypervisorFixture();
  const hypervisor = await over(base.hypervisor, join(base.directory, "../state"));
  return {
    ...base,
    hypervisor,
    async [Symbol.asyncDispose]() {
      await hypervisor.close();
      await base[Symbol.asyncDispose]();
    },
  };
}

hypervisorSuite("warm-pool over the fake", fixture, { suite: s });

s.test("it can do what the other one can, and its templates are the other one's kind", async () => {
  await using base = await fakeHypervisorFixture();
  const pool = await over(base.hypervisor, "/nonexistent");
  assert.equal(pool.capabilities, base.hypervisor.capabilities);
  assert.equal(await pool.fingerprint?.(quietCall()), await base.hypervisor.fingerprint?.(quietCall()));
  await using bare = await fakeHypervisorFixture((same) => same, {
    templates: false,
    snapshots: false,
    shareHotplug: false,
    diskDrivers: [],
  });
  const none = await over(bare.hypervisor, "/nonexistent");
  assert.equal([none.fingerprint, Object.keys(none.holdings)], [undefined, ["vm"]]);
});

s.test("an intent for a template that is not there, or is none, fails as it does without a pool", async () => {
  await using w = await fixture();
  const intent = await w.vmIntent("box", "quiet");
  const [file, state] = [join(w.directory, "memory"), join(w.directory, "saved")];
  const memory = { kind: "clone", file, state } as const;
  await rejects(w.hypervisor.holdings.vm.acquire({ ...intent, memory }, quietCall()), "INVALID_INPUT");
  for (const each of [file, state]) await writeFile(each, "");
  await truncate(file, intent.memoryBytes);
  await rejects(w.hypervisor.holdings.vm.acquire({ ...intent, memory }, quietCall()), "VM_FAILED");
  await w.hypervisor.holdings.vm.release({ intent: { ...intent, memory }, grant: undefined }, quietCall());
  assert.equal((await readdir(w.directory)).sort(), ["memory", "saved"]);
});

s.test("its options are checked, and it is not over itself", async () => {
  const wrong = [{ size: 0 }, { size: 65 }, { size: 1.5 }, { size: "2" }, { over: "" }, { over: "warm-pool" }, { sise: 2 }];
  for (const options of wrong) {
    const error = await rejects(createEngine({ preset: "fake", plugins: [warmPool(options as WarmPoolOptions)] }), "INVALID_INPUT");
    assert.match(error.message, `warm-pool.${Object.keys(options)[0]}`);
  }
});

s.test("over a hypervisor that is not there the first sandbox says so", async () => {
  await using engine = await createEngine({
    preset: "fake",
    plugins: [warmPool({ over: "none" })],
    config: { slots: { hypervisor: "warm-pool" } },
  });
  const error = await rejects(engine.createSandbox(), "NOT_FOUND");
  assert.equal(error.data, { kind: "hypervisor", id: "none", known: ["fake", "warm-pool"] });
});

s.run();
