import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { readyByHand } from "./first-line.ts";
import { type Phases, printHead, printRow, valuesOf } from "./measure.ts";
import { pidOf, SANDBOX, type World } from "./world.ts";

/** How many live at once: `BENCH_LIVE=1,10,50` takes two minutes and 3 GiB. */
const LIVE = (process.env.BENCH_LIVE ?? "1,10").split(",").map(Number);
/** How long they are left alone before they are looked at, ms, and how long that takes. */
const SETTLE_MS = 3_000;
const LOOK_MS = 10_000;
/** Of /proc/PID/stat, on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100;

/** What idle clones take, and this process for each. */
export async function idle(world: World): Promise<void> {
  const own: string[] = [];
  printHead("idle clones: MiB, and percent of a core over 10 s", "what");
  for (const live of LIVE) {
    for (const [side, make] of Object.entries(SIDES)) {
      const before = ownUse();
      await using stack = new AsyncStack();
      const pids: number[] = [];
      for (let index = 0; index < live; index++) pids.push(await make(world, stack));
      await delay(SETTLE_MS);
      const ticks = pids.map(ticksOf);
      await delay(LOOK_MS);
      const looked = pids.map((pid, index) => ({ ...memoryOf(pid), cpu: share(ticksOf(pid) - (ticks[index] ?? 0)) }));
      for (const what of ["PSS", "private dirty", "cpu"]) printRow(`${side}, ${live} live: ${what}`, valuesOf(looked, what));
      const now = ownUse();
      const each = (name: string) => (((now[name] ?? 0) - (before[name] ?? 0)) / live).toFixed(2);
      own.push(`| ${side} | ${live} | ${now.rss?.toFixed(0)} | ${each("rss")} | ${each("descriptors")} |`);
    }
  }
  console.log("\n| this process | live | RSS, MiB | for each, MiB | descriptors for each |\n|---|---|---|---|---|");
  for (const row of own) console.log(row);
}

type Make = (world: World, stack: AsyncStack) => Promise<number>;

/** By the first answer nobody but perl has run in the guest: its Node wakes up with the first call of gRPC, which `ready` begins with. */
const SIDES: Readonly<Record<string, Make>> = {
  "bare, first answer": async (world, stack) => {
    const vm = stack.use(await world.clone());
    await vm.renew();
    return vm.pid;
  },
  "bare, ready": async (world, stack) => {
    const vm = stack.use(await world.clone());
    const client = await readyByHand(world, vm);
    stack.use({ [Symbol.asyncDispose]: () => client.close() });
    return vm.pid;
  },
  "engine, ready": async ({ engine }, stack) => pidOf(engine, stack.use(await engine.createSandbox(SANDBOX))),
};

/** Node 20 has no AsyncDisposableStack. */
class AsyncStack implements AsyncDisposable {
  readonly #all: AsyncDisposable[] = [];

  use<T extends AsyncDisposable>(one: T): T {
    this.#all.push(one);
    return one;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const one of this.#all.toReversed()) await one[Symbol.asyncDispose]();
  }
}

function memoryOf(pid: number): Phases {
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  const mib = (field: string) => Number(new RegExp(`^${field}:\\s+(\\d+)`, "m").exec(rollup)?.[1]) / 1024;
  return { PSS: mib("Pss"), "private dirty": mib("Private_Dirty") };
}

/** Processor time so far: the fields 14 and 15, the 12th and 13th behind the name in brackets. */
function ticksOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return Number(fields[11]) + Number(fields[12]);
}

function share(ticks: number): number {
  return (ticks / TICKS_PER_SECOND / (LOOK_MS / 1000)) * 100;
}

function ownUse(): Phases {
  globalThis.gc?.();
  return { rss: process.memoryUsage().rss / 2 ** 20, descriptors: readdirSync("/proc/self/fd").length };
}
