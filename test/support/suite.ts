import { suite as uvuSuite } from "uvu";

export interface Suite {
  /** Names say behaviour: `createContainer() releases the share when the agent refuses`. */
  test(name: string, body: () => void | Promise<void>, options?: { timeoutMs?: number }): void;
  /** A test that cannot run here; the reason is printed and it never counts as passed. */
  skip(name: string, reason: string): void;
  run(): void;
}

/** Suites of this process that have tests and were not told to run. */
const waiting = new Set<string>();

process.on("exit", () => {
  if (waiting.size === 0) return;
  // uvu would report the other suites of the file as the whole.
  console.error(`.run() is missing for: ${[...waiting].join(", ")}`);
  process.exitCode = 1;
});

/**
 * A uvu suite whose tests end at a deadline (30 s by default): uvu has none, so a hung test would hang the run.
 * There are no `before`/`after` hooks on purpose: uvu reports success when one throws. A test makes its world with `await using`.
 */
export function suite(name: string): Suite {
  const tests = uvuSuite(name);
  return {
    test(title, body, { timeoutMs = 30_000 } = {}) {
      waiting.add(name);
      tests(title, () => beforeDeadline(title, body, timeoutMs));
    },
    skip(title, reason) {
      waiting.add(name);
      console.log(`SKIP ${name}: ${title}: ${reason}`);
      tests.skip(title, () => {});
    },
    run() {
      waiting.delete(name);
      tests.run();
    },
  };
}

async function beforeDeadline(title: string, body: () => void | Promise<void>, timeoutMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${title}: not finished after ${timeoutMs} ms`)), timeoutMs);
  });
  try {
    await Promise.race([body(), late]);
  } catch (error) {
    throw error instanceof Error ? error : new Error(`threw ${String(error)}`); // uvu counts "throw null" as a pass
  } finally {
    clearTimeout(timer);
  }
}
