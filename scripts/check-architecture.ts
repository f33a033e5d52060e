/** Checks the rules of who may import whom. `npm run check` runs it; the rules stand in scripts/architecture/rules.ts. */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { findViolations } from "./architecture/find-violations.ts";

const root = join(fileURLToPath(import.meta.url), "../..");
const violations = findViolations(root);
for (const { file, line, specifier, rule } of violations) console.error(`${file}:${line}: imports "${specifier}": ${rule}`);
console.log(
  violations.length === 0 ? "architecture: every import keeps the rules" : `architecture: ${violations.length} imports break the rules`,
);
process.exitCode = violations.length === 0 ? 0 : 1;
