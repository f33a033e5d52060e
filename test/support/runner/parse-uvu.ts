import { stripVTControlCharacters } from "node:util";

/** What uvu's summary says. Its total leaves skipped tests out. */
export interface UvuSummary {
  readonly total: number;
  readonly passed: number;
  readonly skipped: number;
}

const SUMMARY = /^ {2}Total: {5}(\d+)\n {2}Passed: {4}(\d+)\n {2}Skipped: {3}(\d+)\n/gm;

/** The summary at the end of a test file's output; `undefined` when there is none, or more than one that could be meant. */
export function parseUvuSummary(output: string): UvuSummary | undefined {
  const [match, ...more] = stripVTControlCharacters(output).matchAll(SUMMARY);
  if (!match || more.length > 0) return undefined;
  return { total: Number(match[1]), passed: Number(match[2]), skipped: Number(match[3]) };
}

/** The reasons of skipped tests, as test/support/suite.ts prints them. */
export function skipReasons(output: string): string[] {
  return stripVTControlCharacters(output).match(/^SKIP .+: .+: .+$/gm) ?? [];
}
