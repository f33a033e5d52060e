// What the engine itself costs: the journal, the hooks and the steps of a container's create, on the fakes and on real QEMU in one run.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createEngine, definePlugin, type Engine, type Plugin, type StepEvent } from "tapvisor";
import type { StateStore } from "tapvisor/plugin";
import { presetFake } from "tapvisor/plugins/preset-fake";
import { FakeWorld } from "tapvisor/testing";
import { Bench } from "tinybench";
import { createFsStore } from "../plugins/state-fs/state-store.ts";
import { makeExampleRootfs } from "../scripts/example-rootfs.ts";

const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 10);
const directory = await mkdtemp(join(tmpdir(), "tv-bench-"));
const rootfs = join(directory, "rootfs");
makeExampleRootfs(rootfs);

try {
  await onFakes();
  await onQemu();
} finally {
  await rm(directory, { recursive: true, force: true });
}

async function onFakes(): Promise<void> {
  console.log("\ncreate and delete of a container on the fakes\n\n| records | taps on each hook | median | p99 |\n|---|---|---|---|");
  for (const store of ["memory", "fs"] as const) {
    for (const taps of [0, 5, 50]) {
      const plugins = [tapping(taps), ...(store === "fs" ? [timedStore(join(directory, `fake-${taps}`)).plugin] : [])];
      const config = store === "fs" ? { slots: { stateStore: "timed" } } : {};
      await using engine = await createEngine({
        templates: false,
        preset: presetFake({ world: new FakeWorld() }),
        root: join(directory, "r"),
        plugins,
        config,
      });
      await using sandbox = await engine.runSandbox();
      const bench = new Bench({ iterations: 100, time: 0, warmup: true });
      bench.add("life", async () => {
        const container = await sandbox.createContainer({ rootfs, command: ["true"] });
        await container.delete();
      });
      await bench.run();
      const latency = latencyOf(bench);
      const records = store === "fs" ? "files, fsync on" : "in memory";
      console.log(`| ${records} | ${taps} | ${latency.p50.toFixed(2)} ms | ${latency.p99.toFixed(2)} ms |`);
    }
  }
}

function latencyOf(bench: Bench): { readonly p50: number; readonly p99: number } {
  const result = bench.tasks[0]?.result;
  if (result && "latency" in result) return { p50: result.latency.p50 ?? Number.NaN, p99: result.latency.p99 ?? Number.NaN };
  throw new Error("the benchmark did not run to its end");
}

async function onQemu(): Promise<void> {
  const steps = stepTimes();
  const store = timedStore(join(directory, "real"));
  const hooks = { ms: 0 };
  await using engine = await createEngine({
    templates: false,
    root: join(directory, "real"),
    probe: steps.probe,
    plugins: [store.plugin, tapping(5, hooks)],
    config: { slots: { stateStore: "timed" } },
  });
  await using sandbox = await engine.runSandbox();
  await life(sandbox); // the first one pays for cold pages in the guest
  steps.reset();
  store.spent.ms = 0;
  hooks.ms = 0;
  let total = 0;
  for (let round = 0; round < ROUNDS; round++) total += await life(sandbox);
  console.log(
    `\ncreate of a container on real QEMU, mean of ${ROUNDS}, 5 taps on each hook, records with fsync\n\n| step | ms |\n|---|---|`,
  );
  for (const [step, ms] of steps.means(ROUNDS)) console.log(`| ${step} | ${ms.toFixed(1)} |`);
  const share = ((store.spent.ms + hooks.ms) / total) * 100;
  console.log(`| all | ${(total / ROUNDS).toFixed(1)} |`);
  console.log(`| journal (lock and writes) | ${(store.spent.ms / ROUNDS).toFixed(1)} |\n| taps | ${(hooks.ms / ROUNDS).toFixed(2)} |`);
  console.log(`\njournal and hooks: ${share.toFixed(1)} % of a create`);
}

/** Milliseconds of one create; the delete after it is not counted. */
async function life(sandbox: Awaited<ReturnType<Engine["runSandbox"]>>): Promise<number> {
  const start = performance.now();
  const container = await sandbox.createContainer({ rootfs, command: ["true"] });
  const spent = performance.now() - start;
  await container.delete();
  return spent;
}

/** The files' store, with the time spent in what a create waits for. */
function timedStore(root: string): { readonly plugin: Plugin; readonly spent: { ms: number } } {
  const spent = { ms: 0 };
  let deleting = false;
  const timed =
    <A extends unknown[], R>(work: (...args: A) => Promise<R>) =>
    async (...args: A): Promise<R> => {
      const start = performance.now();
      const result = await work(...args);
      if (!deleting) spent.ms += performance.now() - start;
      return result;
    };
  const plugin = definePlugin("timed-store", (ctx) => {
    ctx.provide("stateStore", "timed", (): StateStore => {
      const inner = createFsStore({ directory: join(root, "state") });
      return { ...inner, write: timed(inner.write.bind(inner)), lock: timed(inner.lock.bind(inner)) };
    });
    ctx.hooks.beforeDelete.tapPromise(async () => {
      deleting = true;
    });
    ctx.hooks.beforeCreate.tapPromise({ stage: -100 }, async () => {
      deleting = false;
    });
  });
  return { plugin: plugin(), spent };
}

/** Taps that do nothing, on each hook a create fires; the time from the first to the last of them is what they cost. */
function tapping(count: number, spent = { ms: 0 }): Plugin {
  return definePlugin("tapping", (ctx) => {
    for (const hook of ["beforeCreate", "afterCreate", "beforeHotplug", "afterAttach", "stateChange"] as const) {
      let start = 0;
      for (let index = 0; index < count; index++) {
        ctx.hooks[hook].tapPromise(async () => {
          if (index === 0) start = performance.now();
          if (index === count - 1) spent.ms += performance.now() - start;
        });
      }
    }
  })();
}

/** The time between the start and the end of each step of a container's create. */
function stepTimes() {
  const started = new Map<string, number>();
  const spent = new Map<string, number>();
  const probe = ({ phase, step, operation }: StepEvent): void => {
    if (operation !== "create container") return;
    if (phase === "before") started.set(step, performance.now());
    else if (phase === "after") spent.set(step, (spent.get(step) ?? 0) + performance.now() - (started.get(step) ?? 0));
  };
  return {
    probe,
    reset: () => spent.clear(),
    means: (rounds: number): [string, number][] => [...spent].map(([step, ms]) => [step, ms / rounds]),
  };
}
