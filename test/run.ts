/**
 * Runs the tests: `node --import tsx test/run.ts [piece of a path | file]…`. Its last line is `N passed, N failed, N skipped`,
 * and its exit code is 0 only when nothing failed and something passed or was skipped with a reason.
 */
import { messageOf } from "../src/base/errors.ts";
import { findTests } from "./support/runner/find-tests.ts";
import { runTests, type Totals } from "./support/runner/run-tests.ts";

const write = (text: string) => void process.stdout.write(text);
const interrupted = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => interrupted.abort(new Error(signal)));

const totals = await run();
write(`\n${totals.passed} passed, ${totals.failed} failed, ${totals.skipped} skipped\n`);
process.exitCode = totals.failed > 0 ? 1 : 0;

async function run(): Promise<Totals> {
  try {
    const files = findTests("test", process.argv.slice(2));
    if (files.unit.length + files.real.length === 0) throw new Error("there is no test file");
    // On a machine of continuous integration nobody else works: there everything new is ours.
    const machine = { directories: [], wholeMachine: Boolean(process.env.CI) };
    const done = await runTests({ files, write, signal: interrupted.signal, machine });
    if (!interrupted.signal.aborted) return done;
    write(`FAIL  interrupted by ${messageOf(interrupted.signal.reason)}\n`);
    return { ...done, failed: done.failed + 1 };
  } catch (error) {
    write(`FAIL  ${messageOf(error)}\n`);
    return { passed: 0, failed: 1, skipped: 0 };
  }
}
