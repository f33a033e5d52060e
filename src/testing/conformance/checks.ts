import { withDeadline } from "../../base/deadline.ts";
import { toError } from "../../base/errors.ts";
import type { TestRegistrar } from "../registrar.ts";

export interface SuiteOptions {
  /** What the checks are registered with. */
  readonly suite: TestRegistrar;
  /** The longest one check may take, its fixture made and given back aside, ms; 30 000 by default. */
  readonly timeoutMs?: number;
}

/** One check of a conformance suite: it rejects when the thing under test breaks its contract. */
export interface Check {
  readonly name: string;
  readonly body: () => Promise<void>;
}

/** What became of a check. */
export interface CheckResult {
  readonly name: string;
  /** Why it failed; absent when it passed. */
  readonly error?: Error;
}

/**
 * The checks that `register` registers, for running them by hand: on one expensive fixture, say, or to count those that fail.
 *
 * @example
 * const checks = collectChecks((suite) => agentSuite("my agent", () => connectTo(oneVm), { suite }));
 * const failed = (await runChecks(checks)).filter(({ error }) => error);
 */
export function collectChecks(register: (suite: TestRegistrar) => void): readonly Check[] {
  const checks: Check[] = [];
  register({ test: (name, body) => void checks.push({ name, body }) });
  return checks;
}

/** Runs checks one after the other; one that fails does not stop the rest. Never rejects. */
export async function runChecks(checks: readonly Check[]): Promise<readonly CheckResult[]> {
  const results: CheckResult[] = [];
  for (const { name, body } of checks) {
    results.push(
      await body().then(
        () => ({ name }),
        (error: unknown) => ({ name, error: toError(error) }),
      ),
    );
  }
  return results;
}

/** Registers a behaviour to check on a fresh fixture. */
export type CheckOn<Fixture> = (behaviour: string, body: (fixture: Fixture) => Promise<void>) => void;

/** Makes the function that registers the checks of one suite: each gets a fixture of its own, and ends at a deadline. */
export function checksOn<Fixture extends AsyncDisposable>(
  name: string,
  make: () => Promise<Fixture>,
  { suite, timeoutMs = 30_000 }: SuiteOptions,
): CheckOn<Fixture> {
  return (behaviour, body) =>
    suite.test(`${name}: ${behaviour}`, async () => {
      await using fixture = await make();
      await withDeadline({ what: behaviour, timeoutMs }, () => body(fixture));
    });
}
