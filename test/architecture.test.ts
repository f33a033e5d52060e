import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import * as assert from "uvu/assert";
import { findImports } from "../scripts/architecture/find-imports.ts";
import { findViolations } from "../scripts/architecture/find-violations.ts";
import { suite } from "./support/suite.ts";
import { tempDirectory } from "./support/temp.ts";

const s = suite("architecture");

s.test("every import of the project keeps the rules", () => {
  assert.equal(findViolations("."), []);
});

s.test("finds imports, type imports, re-exports and dynamic imports, and not those in comments or strings", () => {
  const source = [
    'import "a";',
    "import {",
    "  type B,",
    '} from "b";',
    'import type { C } from "c";',
    'export * from "d";',
    'export const name = "not-e";',
    '/** import { f } from "not-f"; */',
    ' * import { g } from "not-g";',
    'type H = import("h").H;',
    'const i = await import("i");',
    "const j = await import(name);",
  ].join("\n");
  assert.equal(
    findImports(source).map(({ specifier, line }) => `${line} ${specifier}`),
    ["1 a", "2 b", "5 c", "6 d", "10 h", "11 i", "12 (computed)"],
  );
});

const PLANTED: readonly (readonly [file: string, code: string])[] = [
  ["src/engine/x.ts", 'import { qemu } from "../../plugins/hypervisor-qemu/index.ts";'],
  ["src/engine/x.ts", 'import type { Qemu } from "../../plugins/hypervisor-qemu/index.ts";'],
  ["src/engine/x.ts", 'const qemu = await import("tapvisor/plugins/hypervisor-qemu");'],
  ["src/engine/x.ts", "const some = await import(name);"],
  ["src/sandbox/x.ts", 'import left from "left-pad";'],
  ["src/base/x.ts", 'import type { Guest } from "../contracts/guest.ts";'],
  ["src/contracts/x.ts", 'import { createHooks } from "../engine/hooks.ts";'],
  ["plugins/mine/x.ts", 'import { Mutex } from "../../src/base/mutex.ts";'],
  ["plugins/mine/x.ts", 'import { other } from "../other/index.ts";'],
  ["plugins/mine/x.ts", 'import { createEngine } from "tapvisor";'],
  ["plugins/mine/x.ts", 'import { world } from "tapvisor/testing";'],
  ["plugins/mine/deep/x.ts", 'export * from "tapvisor/plugins/other";'],
  ["plugins/mine/x.ts", 'import left from "left-pad";'],
  ["src/engine/x.ts", 'const peer = await import("peer");'],
  ["examples/x.ts", 'import { Mutex } from "../src/base/mutex.ts";'],
];

for (const [file, code] of PLANTED) {
  s.test(`catches in ${file}: ${code}`, async () => {
    assert.equal((await violationsOf(file, code)).length, 1);
  });
}

const ALLOWED: readonly (readonly [file: string, code: string])[] = [
  ["src/config/x.ts", "const plugin = await import(name);"],
  ["src/contracts/x.ts", 'import type { Bytes } from "../base/units.ts";'],
  ["src/engine/x.ts", 'import { pino } from "pino";'],
  ["plugins/mine/deep/x.ts", 'import { a } from "../a.ts";\nimport { b } from "tapvisor/plugin";\nimport { c } from "tapvisor/protocol";'],
  ["plugins/mine/x.ts", 'const peer = await import("peer");'],
  ["plugins/hypervisor-fake/x.ts", 'import { world } from "tapvisor/testing";'],
  ["plugins/preset-mine/x.ts", 'import mine from "tapvisor/plugins/mine";'],
  ["examples/x.ts", 'import { readFile } from "node:fs/promises";\nimport { createEngine } from "tapvisor";'],
];

for (const [file, code] of ALLOWED) {
  s.test(`lets pass in ${file}: ${code.replaceAll("\n", " ")}`, async () => {
    assert.equal(await violationsOf(file, code), []);
  });
}

s.run();

async function violationsOf(file: string, code: string) {
  await using directory = await tempDirectory();
  writeFileSync(join(directory.path, "package.json"), JSON.stringify({ dependencies: { pino: "*" }, peerDependencies: { peer: "*" } }));
  mkdirSync(join(directory.path, dirname(file)), { recursive: true });
  writeFileSync(join(directory.path, file), `${code}\n`);
  return findViolations(directory.path);
}
