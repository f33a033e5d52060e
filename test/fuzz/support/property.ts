import fc from "fast-check";
import { messageOf } from "../../../src/base/errors.ts";
import { suite } from "../../support/suite.ts";

/** A statement about any input, which both the tests and `npm run fuzz` try to refute. */
export interface Property {
  readonly name: string;
  /** Inputs that a run of the tests tries: few enough that a file takes seconds. */
  readonly runs: number;
  make(): fc.IRawProperty<unknown, boolean>;
}

export interface Budget {
  readonly seed: number;
  readonly runs: number;
  readonly timeMs: number;
}

/** Nothing that an input of a few kilobytes causes takes longer, also on a busy machine, ms. */
const ONE_INPUT_MS = 10_000;

/** Tries inputs until the budget is used up and answers how many. @throws Error with the smallest input that refutes the property, and its seed. */
export async function tryProperty({ name, make }: Property, { seed, runs, timeMs }: Budget): Promise<number> {
  const stray: unknown[] = [];
  const onStray = (reason: unknown) => void stray.push(reason);
  process.on("unhandledRejection", onStray);
  try {
    const details = await fc.check(make() as fc.IRawProperty<[unknown], boolean>, {
      seed,
      numRuns: runs,
      interruptAfterTimeLimit: timeMs,
      markInterruptAsFailure: false,
      timeout: ONE_INPUT_MS,
    });
    if (details.failed) {
      const why = messageOf(details.errorInstance);
      throw new Error(`${name}: refuted with FUZZ_SEED=${seed}: ${why}\n${await fc.asyncDefaultReportMessage(details)}`, {
        cause: details.errorInstance,
      });
    }
    await new Promise((resolve) => setImmediate(resolve));
    if (stray.length > 0) throw new Error(`${name}: rejections that nobody handled, with FUZZ_SEED=${seed}`, { cause: stray[0] });
    return details.numRuns;
  } finally {
    process.off("unhandledRejection", onStray);
  }
}

/** `FUZZ_SEED`, or another one each time. */
export function seedFromEnvironment(): number {
  const given = process.env.FUZZ_SEED;
  if (given === undefined) return Date.now() % 2 ** 31;
  const seed = Number(given);
  if (Number.isInteger(seed)) return seed;
  throw new Error(`Cannot use FUZZ_SEED ${JSON.stringify(given)}: wanted a whole number`);
}

/** The most that a file's properties together take of a run of the tests, ms. */
const FILE_MS = 9_000;

/** A test for each property, within a fixed budget. */
export function fuzzTests(name: string, properties: readonly Property[]): void {
  const s = suite(`fuzz: ${name}`);
  const seed = seedFromEnvironment();
  for (const property of properties) {
    s.test(property.name, async () => {
      const inputs = await tryProperty(property, { seed, runs: property.runs, timeMs: FILE_MS / properties.length });
      console.log(`${property.name}: ${inputs} inputs, FUZZ_SEED=${seed}`);
    });
  }
  s.run();
}
