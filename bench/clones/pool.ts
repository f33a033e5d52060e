import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { findProcessesByMark } from "tapvisor/plugin";
import { warmPool } from "tapvisor/plugins/warm-pool";
import { alternate, printPhases, printRatio, type Side, stopwatch, valuesOf } from "./measure.ts";
import { SANDBOX, type World } from "./world.ts";

const SIZE = 1;

/** The same creation with VMs that wait for it, and without. */
export async function pool({ directory, engine, another }: World, rounds: number): Promise<void> {
  const root = join(directory, "p");
  const pooled = await another({ root, plugins: [warmPool({ size: SIZE })], config: { slots: { hypervisor: "warm-pool" } } });
  const filled = async () => {
    while ((await findProcessesByMark(`path=${join(root, "state/warm")}`)).length < SIZE) await delay(20);
    await delay(200); // it answers, and stands still
  };
  const create = async (by: typeof engine) => {
    const { phases, passed } = stopwatch();
    await using _sandbox = await by.createSandbox(SANDBOX);
    passed("ready");
    return phases;
  };
  await create(pooled); // the first finds an empty pool
  const without: Side = { name: "without", run: () => create(engine) };
  const within: Side = {
    name: "with the pool",
    run: async () => {
      await filled();
      return create(pooled);
    },
  };
  const results = await alternate(rounds, [without, within]);
  await pooled.close();
  printPhases("creation with the warm pool and without, ms", results);
  printRatio("with the pool, beside the creation without", valuesOf(results.get(within), "ready"), valuesOf(results.get(without), "ready"));
}
