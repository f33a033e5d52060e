/**
 * Tries the properties of this directory for longer than the tests do: `npm run fuzz [piece of a name]…`.
 *
 * `FUZZ_SECONDS` is how long in all, 60 by default; `FUZZ_SEED` where to begin, another one each time by default. The properties take turns of a few
 * seconds, each with a seed of its own, which a report of a finding names. The exit code is 1 when there is one.
 */
import { messageOf } from "../../src/base/errors.ts";
import { answers } from "./answers.ts";
import { config } from "./config.ts";
import { guest } from "./guest.ts";
import { oci } from "./oci.ts";
import { qmp } from "./qmp.ts";
import { type Property, seedFromEnvironment, tryProperty } from "./support/property.ts";
import { yamux } from "./yamux.ts";

const TURN_MS = 5_000;

const seconds = Number(process.env.FUZZ_SECONDS ?? "60");
if (!(seconds > 0)) throw new Error(`Cannot use FUZZ_SECONDS ${JSON.stringify(process.env.FUZZ_SECONDS)}: wanted a number above 0`);
const pieces = process.argv.slice(2);
const all: readonly Property[] = [...yamux, ...answers, ...guest, ...qmp, ...oci, ...config];
const chosen = all.filter(({ name }) => pieces.length === 0 || pieces.some((piece) => name.includes(piece)));
if (chosen.length === 0) throw new Error(`No property has ${pieces.map((piece) => JSON.stringify(piece)).join(" or ")} in its name`);

const first = seedFromEnvironment();
const inputs = new Map(chosen.map(({ name }) => [name, 0]));
const findings: string[] = [];
const begun = performance.now();
const left = () => begun + seconds * 1000 - performance.now();

console.log(`${chosen.length} properties, ${seconds} s, FUZZ_SEED=${first}`);
for (let round = 0; left() > 0 && findings.length === 0; round += 1) {
  for (const property of chosen) {
    if (left() <= 0) break;
    const budget = { seed: first + round, runs: Number.MAX_SAFE_INTEGER, timeMs: Math.min(TURN_MS, left()) };
    try {
      const tried = await tryProperty(property, budget);
      inputs.set(property.name, (inputs.get(property.name) ?? 0) + tried);
    } catch (error) {
      findings.push(messageOf(error));
    }
  }
}
for (const [name, count] of inputs) console.log(`${String(count).padStart(9)}  ${name}`);
for (const finding of findings) console.log(`\n${finding}`);
process.exitCode = findings.length > 0 ? 1 : 0;
