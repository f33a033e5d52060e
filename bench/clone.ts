/**
 * Templates and what goes on from them, each row beside its bare twin in the same run: the same command line, guest and saved files, without Tapvisor.
 * `BENCH_ROWS` chooses rows, `BENCH_ROUNDS` (10) how often each is measured.
 */
import { churn } from "./clones/churn.ts";
import { firstAnswer } from "./clones/first-answer.ts";
import { firstLines } from "./clones/first-line.ts";
import { idle } from "./clones/idle.ts";
import { describeHost, load } from "./clones/measure.ts";
import { pool } from "./clones/pool.ts";
import { saves } from "./clones/save.ts";
import { makeWorld, type World } from "./clones/world.ts";

const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 10);
const ROWS: Readonly<Record<string, (world: World, rounds: number) => Promise<void>>> = {
  "first-answer": firstAnswer,
  "first-line": firstLines,
  save: saves,
  churn,
  idle,
  pool,
};

const chosen = process.env.BENCH_ROWS?.split(",") ?? Object.keys(ROWS);
const before = load();
await using world = await makeWorld();
for (const name of chosen) {
  const row = ROWS[name];
  if (!row) throw new Error(`there is no row "${name}": wanted some of ${Object.keys(ROWS).join(", ")}`);
  const loadBefore = load();
  await row(world, ROUNDS);
  console.log(`\nload ${loadBefore} before, ${load()} after`);
}
console.log(`\n${describeHost(world.accelerator)}; load ${before} before, ${load()} after`);
