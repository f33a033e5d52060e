import { execFileSync } from "node:child_process";
import { cpus, loadavg, release } from "node:os";

/** When each phase ended, ms since the beginning. */
export type Phases = Record<string, number>;

/** A row as one side did it. */
export interface Side {
  readonly name: string;
  run(round: number): Promise<Phases>;
}

/** Lets the sides take turns, each first in every other round, so that a busy moment hits all of them. */
export async function alternate(rounds: number, sides: readonly Side[]): Promise<Map<Side, Phases[]>> {
  const results = new Map<Side, Phases[]>(sides.map((side) => [side, []]));
  for (let round = 0; round < rounds; round++) {
    for (const side of round % 2 === 0 ? sides : sides.toReversed()) results.get(side)?.push(await side.run(round));
  }
  return results;
}

/** Every phase of each side. */
export function printPhases(title: string, results: ReadonlyMap<Side, readonly Phases[]>): void {
  printHead(title, "phase");
  for (const [{ name }, rounds] of results) {
    for (const phase of Object.keys(rounds[0] ?? {})) printRow(`${name}: ${phase}`, valuesOf(rounds, phase));
  }
}

/** The ratio of the medians of what ends in the same way on both sides. */
export function printRatio(what: string, ours: readonly number[], twin: readonly number[]): void {
  console.log(`\n${what}: ${(quantile(ours, 0.5) / quantile(twin, 0.5)).toFixed(2)} times its twin, median to median`);
}

export function printHead(title: string, first: string): void {
  console.log(`\n${title}\n\n| ${first} | n | min | p50 | p95 | p99 | max |\n|---|---|---|---|---|---|---|`);
}

export function printRow(name: string, values: readonly number[]): void {
  const cells = [0, 0.5, 0.95, 0.99, 1].map((share) => short(quantile(values, share)));
  console.log(`| ${name} | ${values.length} | ${cells.join(" | ")} |`);
}

export function valuesOf(rounds: readonly Phases[] = [], phase = ""): number[] {
  return rounds.map((each) => each[phase] ?? Number.NaN);
}

/** The smallest value that this share of all does not exceed. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
}

export function short(value: number): string {
  return value.toFixed(Math.abs(value) < 10 ? 1 : 0);
}

/** Takes the time of its parts. */
export function stopwatch(): { readonly phases: Phases; passed(name: string): void } {
  const began = performance.now();
  const phases: Phases = {};
  return {
    phases,
    passed: (name) => {
      phases[name] = performance.now() - began;
    },
  };
}

/** What figures have to stand beside. */
export function describeHost(accelerator: string): string {
  const qemu = execFileSync("qemu-system-x86_64", ["--version"], { encoding: "utf8" }).split("\n", 1)[0];
  return `${accelerator}, ${qemu}, kernel ${release()}, ${cpus().length} cores, Node ${process.version}`;
}

export function load(): string {
  return (loadavg()[0] ?? Number.NaN).toFixed(1);
}
