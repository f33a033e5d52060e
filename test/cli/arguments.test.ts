import * as assert from "uvu/assert";
import { splitArguments } from "../../src/cli/arguments.ts";
import { suite } from "../support/suite.ts";

const s = suite("splitArguments()");

const CASES: readonly (readonly [line: string, own: string, script: string])[] = [
  ["run a.ts", "run a.ts", ""],
  ["run a.ts --verbose --help -- x", "run a.ts", "--verbose --help -- x"],
  ["--verbose run --help a.ts b", "--verbose run --help a.ts", "b"],
  ["run -- a.ts --json", "run a.ts", "--json"],
  ["run --verbose", "run --verbose", ""],
  ["doctor --json run", "doctor --json run", ""],
  ["--help", "--help", ""],
  ["", "", ""],
];

const words = (line: string) => line.split(" ").filter(Boolean);

for (const [line, own, script] of CASES) {
  s.test(`splits "${line}"`, () => assert.equal(splitArguments(words(line)), { own: words(own), script: words(script) }));
}

s.run();
