import { collectChecks, runChecks, type SuiteOptions } from "tapvisor/testing";
import * as assert from "uvu/assert";
import type { Suite } from "../../support/suite.ts";

/** Long enough for an honest fake on a busy machine, short enough for one that hangs, ms. */
const TIMEOUT_MS = 2_000;

/** The defects by what is wrong with the backend; each is caught by a check whose name matches. */
export type Defects<Make> = Readonly<Record<string, readonly [caught: RegExp, make: Make]>>;

/** Tests that a conformance suite fails for each broken backend, and by the check that is there for it. */
export function expectCaught<Make>(
  s: Suite,
  defects: Defects<Make>,
  register: (name: string, make: Make, options: SuiteOptions) => void,
): void {
  for (const [defect, [caught, make]] of Object.entries(defects)) {
    s.test(
      `catches a backend that ${defect}`,
      async () => {
        const results = await runChecks(
          collectChecks((suite) => register("broken", make, { suite, timeoutMs: TIMEOUT_MS })).filter(({ name }) => caught.test(name)),
        );
        assert.ok(results.length > 0, `no check is named ${caught}`);
        assert.ok(
          results.some(({ error }) => error),
          `it passed: ${results.map(({ name }) => name).join("; ")}`,
        );
      },
      { timeoutMs: 60_000 },
    );
  }
  console.log(`${Object.keys(defects).length} broken backends`);
}
