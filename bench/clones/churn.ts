import { firstLineByHand } from "./first-line.ts";
import { type Phases, printHead, printRow, quantile, short, valuesOf } from "./measure.ts";
import { firstLine, SANDBOX, type World } from "./world.ts";

const CONCURRENCY = [1, 2, 4];

/** Sandboxes made and deleted, one after the other and several at a time, bare and with a container in each. */
export async function churn(world: World, rounds: number): Promise<void> {
  const works = {
    "no container": { bare: () => renewed(world), engine: () => ready(world) },
    "a container in each": { bare: () => lineByHand(world), engine: () => line(world) },
  };
  const rates: string[] = [];
  printHead("churn: one sandbox from its beginning to its end, ms", "sandboxes");
  for (const [name, sides] of Object.entries(works)) {
    for (const concurrency of CONCURRENCY) {
      const [bare, engine] = [await many(rounds, concurrency, sides.bare), await many(rounds, concurrency, sides.engine)];
      printRow(`bare, ${name}, ${concurrency} at a time`, valuesOf(bare.each, "all"));
      printRow(`engine, ${name}, ${concurrency} at a time`, valuesOf(engine.each, "all"));
      const ratio = quantile(valuesOf(engine.each, "all"), 0.5) / quantile(valuesOf(bare.each, "all"), 0.5);
      rates.push(`| ${name} | ${concurrency} | ${short(bare.perSecond)} | ${short(engine.perSecond)} | ${ratio.toFixed(2)} |`);
    }
  }
  console.log("\n| churn | at a time | bare, per second | engine, per second | ratio of the median times |\n|---|---|---|---|---|");
  for (const row of rates) console.log(row);
}

/** `rounds` of it for each that is at work at once. */
async function many(rounds: number, concurrency: number, work: () => Promise<void>) {
  const each: Phases[] = [];
  const began = performance.now();
  const worker = async () => {
    for (let round = 0; round < rounds; round++) {
      const from = performance.now();
      await work();
      each.push({ all: performance.now() - from });
    }
  };
  const ends = await Promise.allSettled(Array.from({ length: concurrency }, worker));
  const failed = ends.find((end) => end.status === "rejected");
  if (failed) throw failed.reason;
  return { each, perSecond: (each.length / (performance.now() - began)) * 1000 };
}

async function renewed(world: World): Promise<void> {
  await using vm = await world.clone();
  await vm.renew();
}

async function lineByHand(world: World): Promise<void> {
  await using vm = await world.clone();
  await firstLineByHand(world, vm);
}

async function ready({ engine }: World): Promise<void> {
  await using _sandbox = await engine.createSandbox(SANDBOX);
}

async function line({ engine, image }: World): Promise<void> {
  await using sandbox = await engine.createSandbox(SANDBOX);
  await firstLine(sandbox, image);
}
