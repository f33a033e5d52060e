import { parseUvuSummary, skipReasons } from "./parse-uvu.ts";

/** How a test file's process ended. */
export interface FileRun {
  readonly exitCode: number | null;
  readonly signal: string | null;
  readonly output: string;
  /** Set when it was ended at its deadline. */
  readonly timedOut: boolean;
  /** What it left on the machine, one line each. */
  readonly leaks: readonly string[];
}

export interface Verdict {
  readonly passed: number;
  /** At least 1 when anything is wrong, so that no defect of a file is lost in the totals. */
  readonly failed: number;
  readonly skipped: number;
  readonly problems: readonly string[];
  readonly skips: readonly string[];
}

/**
 * Whether a test file really passed. uvu ends with code 0 when a hook throws, when nothing was registered or run, and on `throw null`:
 * so the code alone proves nothing and the counts must agree.
 */
export function judge(run: FileRun): Verdict {
  const summary = parseUvuSummary(run.output);
  const skips = skipReasons(run.output);
  const problems: string[] = [];
  if (run.timedOut && summary)
    problems.push("its tests ended and it did not: a timer, socket or child is still open; its processes were ended");
  else if (run.timedOut) problems.push("not finished at its deadline; its processes were ended");
  else if (run.exitCode !== 0) problems.push(run.signal ? `ended by ${run.signal}` : `exit code ${run.exitCode}`);
  if (!summary) problems.push("printed no single summary: no test ran to its end, or .run() is missing");
  else {
    if (summary.passed !== summary.total) problems.push(`${summary.total - summary.passed} of ${summary.total} tests did not pass`);
    if (summary.total + summary.skipped === 0) problems.push("registered no test, or .run() is missing");
    if (summary.skipped !== skips.length) problems.push(`skipped ${summary.skipped} tests and gave ${skips.length} reasons`);
  }
  problems.push(...run.leaks.map((leak) => `left behind: ${leak}`));
  const failedTests = summary ? summary.total - summary.passed : 0;
  const failed = problems.length > 0 ? Math.max(1, failedTests) : 0;
  return { passed: summary?.passed ?? 0, failed, skipped: summary?.skipped ?? 0, problems, skips };
}
