import { mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { createEngine } from "tapvisor";
import { definePlugin, type Hypervisor } from "tapvisor/plugin";
import { hypervisorFake } from "tapvisor/plugins/hypervisor-fake";
import { presetFake } from "tapvisor/plugins/preset-fake";
import { MemoryState } from "tapvisor/plugins/state-memory";
import { FakeWorld, sweep, withFaults } from "tapvisor/testing";
import * as assert from "uvu/assert";
import { providerOf } from "../../support/fake-guest.ts";
import { suite } from "../../support/suite.ts";
import { tempDirectory } from "../../support/temp.ts";
import { POOL_SLOTS, poolPlugins } from "./support/pool-engine.ts";

const s = suite("warm pool: a fault at each point");

/** Until nothing has been asked of the world for so long, ms: the pool has done what it will. */
const QUIET_MS = 15;

s.test(
  "a fault at any step, or inside any call of the hypervisor below, the pool's own included, leaves nothing",
  async () => {
    await using directory = await tempDirectory();
    const root = join(directory.path, "root");
    const rootfs = join(directory.path, "rootfs");
    await mkdir(rootfs);
    const world = new FakeWorld();
    const state = new MemoryState();
    const faulty = withFaults(await providerOf<Hypervisor>(hypervisorFake({ world }), "hypervisor", "fake"));
    const below = definePlugin("below", (ctx) => ctx.provide("hypervisor", "faulty", () => faulty.provider));
    const open = (extra: object = {}) =>
      createEngine({
        preset: presetFake({ world, state }),
        root,
        templates: { directory: join(root, "templates") },
        plugins: [...poolPlugins({ over: "faulty", size: 1 }), below()],
        config: { slots: POOL_SLOTS },
        ...extra,
      });
    const quiet = async () => {
      for (let calls = -1; calls !== world.calls.length; await delay(QUIET_MS)) calls = world.calls.length;
    };
    const report = await sweep(
      async (probe) => {
        await using engine = await open({ probe });
        for (const id of ["one", "two"]) {
          await using sandbox = await engine.runSandbox({ id, template: true, boot: { retries: 0 } });
          await quiet();
          await (await sandbox.run({ rootfs, command: ["true"] })).wait();
        }
      },
      {
        snapshot: async () => ({
          vms: world.snapshot().vms,
          records: state.ids(),
          files: (await readdir(root, { recursive: true }).catch(() => [])).filter((file) => /^(run|state\/warm)\/|\/users\//.test(file)),
        }),
        inside: [faulty],
        async recover() {
          await using engine = await open();
          await engine.gc();
        },
      },
    );
    console.log(`${report.cases.length} cases, ${report.leaks.length} leaks`);
    assert.equal(
      report.leaks.map(({ at }) => at),
      [],
    );
    const calls = report.cases.flatMap(({ at, struck }) => ("call" in at && struck ? [at.call] : []));
    for (const call of ["vm.acquire", "vm.release", "connect"]) assert.ok(calls.includes(call), `${call} of ${new Set(calls)}`);
  },
  { timeoutMs: 120_000 },
);

s.run();
