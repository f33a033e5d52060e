import { readdirSync, statSync } from "node:fs";
import { join, relative, resolve } from "node:path";

export interface TestFiles {
  /** May run beside each other. */
  readonly unit: readonly string[];
  /** Start real virtual machines: one at a time. */
  readonly real: readonly string[];
}

/**
 * The test files below `directory`, or those the filters choose: a path to a file, whatever its name, or a piece of a path.
 * Each filter must choose something: a mistyped one would otherwise pass as "nothing failed".
 */
export function findTests(directory: string, filters: readonly string[]): TestFiles {
  const all = listFiles(directory).filter((file) => file.endsWith(".test.ts"));
  const chosen = filters.length === 0 ? all : filters.flatMap((filter) => choose(filter, all));
  const files = [...new Set(chosen)].sort();
  return { unit: files.filter((file) => !isReal(file)), real: files.filter(isReal) };
}

function choose(filter: string, all: readonly string[]): string[] {
  if (filter.endsWith(".ts") && statSync(filter, { throwIfNoEntry: false })?.isFile()) return [relative(process.cwd(), resolve(filter))];
  const matching = all.filter((file) => file.includes(filter));
  if (matching.length === 0) throw new Error(`no test file has "${filter}" in its path`);
  return matching;
}

function listFiles(directory: string): string[] {
  return readdirSync(directory, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

function isReal(file: string): boolean {
  return file.endsWith(".real.test.ts");
}
