import { existsSync } from "node:fs";
import { mkdtemp, readdir, rm, rmdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { lookAround, newTraces, type Scope } from "../leaks.ts";
import type { TestFiles } from "./find-tests.ts";
import { judge, type Verdict } from "./judge.ts";
import { type FileResult, runFile } from "./run-file.ts";

export interface RunOptions {
  readonly files: TestFiles;
  readonly write: (text: string) => void;
  readonly signal: AbortSignal;
  /** What the machine is compared by, before and after. */
  readonly machine: Scope;
  readonly limits?: Partial<Limits>;
}

export interface Totals {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

/** Milliseconds. */
export interface Limits {
  /** For a file of unit tests. */
  readonly unit: number;
  /** For a file that starts real virtual machines. */
  readonly real: number;
  /** For a file to end after its tests. */
  readonly exit: number;
  /** For what a file started to end after it: a killed VM's helpers follow it on their own. */
  readonly settle: number;
}

const LIMITS: Limits = { unit: 180_000, real: 600_000, exit: 15_000, settle: 3_000 };
const UNIT_FILES_AT_ONCE = 2;
const SHM = "/dev/shm";

/** Runs the files, prints a line for each and everything a failed one said, and compares the machine with what it was. */
export async function runTests({ files, write, signal, machine, limits }: RunOptions): Promise<Totals> {
  const { unit, real, exit, settle } = { ...LIMITS, ...limits };
  const runDirectory = await mkdtemp(join(tmpdir(), "tvr"));
  // One for the whole run, in the machine's memory: what is saved there once spares each test a boot.
  const templates = await mkdtemp(join(existsSync(SHM) ? SHM : tmpdir(), "tvt"));
  process.env.TAPVISOR_TEST_TEMPLATES = templates;
  const totals = { passed: 0, failed: 0, skipped: 0 };
  const add = (verdict: Totals) => {
    for (const key of ["passed", "failed", "skipped"] as const) totals[key] += verdict[key];
  };
  let known = await lookAround(machine);
  /** Blames what is new on the machine on those that ran since the last look. */
  const compare = async (who: string) => {
    const now = await lookAround(machine);
    const left = newTraces(known, now);
    for (const { text } of left) write(`FAIL  ${who}\n      left behind on the machine: ${text}\n`);
    add({ passed: 0, failed: left.length, skipped: 0 });
    known = now;
  };
  let number = 0;
  const runOne = async (file: string, deadlineMs: number) => {
    number += 1;
    const run = await runFile(file, { runDirectory, name: String(number), deadlineMs, exitMs: exit, settleMs: settle, signal });
    const verdict = judge(run);
    write(report(file, verdict, run));
    add(verdict);
  };
  try {
    await inLanes(UNIT_FILES_AT_ONCE, files.unit, signal, (file) => runOne(file, unit));
    await compare("the unit test files");
    for (const file of files.real) {
      if (signal.aborted) break;
      await runOne(file, real);
      await compare(file);
      for (const left of await usesLeft(templates)) {
        write(`FAIL  ${file}\n      left behind in the templates: ${left}\n`);
        add({ passed: 0, failed: 1, skipped: 0 });
      }
    }
  } finally {
    // Only when empty: below it may be a mount that could not be taken away, with somebody's files.
    await rm(templates, { recursive: true, force: true });
    await rmdir(runDirectory).catch(() => write(`kept ${runDirectory}: it is not empty\n`));
  }
  return totals;
}

/** What sandboxes that went on from a template have not given back, which is taken away, and what is left of templates that were not finished. */
async function usesLeft(templates: string): Promise<string[]> {
  const names = await readdir(templates);
  const users = await Promise.all(
    names.map(async (name) => (await readdir(join(templates, name, "users")).catch(() => [])).map((user) => join(name, "users", user))),
  );
  const left = [...users.flat(), ...names.filter((name) => !/^[0-9a-f]{64}$/.test(name))];
  for (const each of left) await rm(join(templates, each), { recursive: true, force: true });
  return left;
}

async function inLanes<T>(count: number, items: readonly T[], signal: AbortSignal, work: (item: T) => Promise<void>): Promise<void> {
  const queue = [...items];
  const lane = async () => {
    for (let item = queue.shift(); item !== undefined && !signal.aborted; item = queue.shift()) await work(item);
  };
  await Promise.all(Array.from({ length: count }, lane));
}

function report(file: string, verdict: Verdict, run: FileResult): string {
  const counts = [`${verdict.passed} passed`];
  if (verdict.failed > 0) counts.push(`${verdict.failed} failed`);
  if (verdict.skipped > 0) counts.push(`${verdict.skipped} skipped`);
  const line = `${verdict.failed > 0 ? "FAIL" : "ok  "}  ${file}  ${counts.join(", ")}  ${(run.durationMs / 1000).toFixed(1)} s\n`;
  if (verdict.failed === 0) return line + verdict.skips.map((skip) => `      ${skip}\n`).join("");
  return `${line}${verdict.problems.map((problem) => `      ${problem}\n`).join("")}${run.output.replace(/^(?=.)/gm, "    | ")}\n`;
}
