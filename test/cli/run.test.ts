import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { type CliResult, cli } from "../support/cli.ts";
import { suite } from "../support/suite.ts";
import { tempDirectory } from "../support/temp.ts";

const s = suite("tapvisor run");

/** Writes the files, runs the first one, and takes the files away. */
async function run(
  files: Readonly<Record<string, string>>,
  args: readonly string[] = [],
  flags: readonly string[] = [],
): Promise<CliResult & { path: string }> {
  await using directory = await tempDirectory();
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(join(directory.path, name, ".."), { recursive: true });
    writeFileSync(join(directory.path, name), text);
  }
  const [script = ""] = Object.keys(files);
  return { ...(await cli(["run", ...flags, script, ...args], { cwd: directory.path })), path: directory.path };
}

const PRINT_NAMES = `
import { createEngine } from "tapvisor";
import { definePlugin } from "tapvisor/plugin";
const word = await Promise.resolve("yes");
console.log(typeof createEngine, typeof definePlugin, word);
`;

for (const name of ["a.ts", "a.mts", "a.js", "a.mjs"]) {
  s.test(`runs ${name} outside any package, with top-level await and the package's names`, async () => {
    const { exitCode, stdout, stderr } = await run({ [name]: PRINT_NAMES });
    assert.equal({ exitCode, stdout, stderr }, { exitCode: 0, stdout: "function function yes\n", stderr: "" });
  });
}

for (const type of ["commonjs", "module", undefined]) {
  s.test(`runs a TypeScript module in a package of type ${type}`, async () => {
    const { exitCode, stdout } = await run({ "a.ts": PRINT_NAMES, "package.json": JSON.stringify({ type }) });
    assert.equal([exitCode, stdout], [0, "function function yes\n"]);
  });
}

for (const name of ["a.js", "a.ts"]) {
  s.test(`runs CommonJS in ${name} as such`, async () => {
    const { exitCode, stdout } = await run({ [name]: 'const { sep } = require("node:path"); console.log(sep, typeof module);' });
    assert.equal([exitCode, stdout], [0, "/ object\n"]);
  });
}

s.test("imports neighbours by .ts, by .js and without extension", async () => {
  const script = 'import { b } from "./lib/b.ts"; import { c } from "./lib/c.js"; import { d } from "./lib/d"; console.log(b, c, d);';
  const typed = (name: string) => `export const ${name}: string = await Promise.resolve("${name}");`;
  const { exitCode, stdout, stderr } = await run({
    "a.ts": script,
    "lib/b.ts": typed("b"),
    "lib/c.ts": typed("c"),
    "lib/d.ts": typed("d"),
  });
  assert.equal([exitCode, stdout, stderr], [0, "b c d\n", ""]);
});

s.test("compiles `await using` and types, and gives a true stack", async () => {
  const script = `
interface Named { name: string }
{
  await using held: AsyncDisposable & Named = { name: "held", async [Symbol.asyncDispose]() { console.log("released"); } };
  console.log(held.name);
}
throw new TypeError("here");
`;
  const { exitCode, stdout, stderr } = await run({ "a.ts": script });
  assert.equal([exitCode, stdout], [1, "held\nreleased\n"]);
  assert.match(stderr, /TypeError: here\n\s+at .*a\.ts:7:7/);
});

s.test("gives process.argv as node would, and touches no flag behind the script", async () => {
  const { stdout, path } = await run({ "a.ts": "console.log(JSON.stringify(process.argv), import.meta.url)" }, [
    "--verbose",
    "-x",
    "--",
    "--help",
    "007",
  ]);
  const argv = [process.execPath, join(path, "a.ts"), "--verbose", "-x", "--", "--help", "007"];
  assert.is(stdout, `${JSON.stringify(argv)} file://${path}/a.ts\n`);
});

const CODES: readonly (readonly [code: string, exitCode: number])[] = [
  ["process.exitCode = 42;", 42],
  ["process.exit(9);", 9],
  ["process.exitCode = 3; setTimeout(() => console.log('late'), 10);", 3],
  ["setTimeout(() => { throw new Error('late'); }, 10); setInterval(() => {}, 1000);", 1],
  ["setTimeout(() => Promise.reject(new Error('late')), 10); setInterval(() => {}, 1000);", 1],
  ["throw null;", 1],
  ["const x: = 1;", 1],
  ["await new Promise(() => {});", 13],
  ["process.on('uncaughtException', () => process.exit(5)); setTimeout(() => { throw new Error('mine'); }, 10);", 5],
];

for (const [code, wanted] of CODES) {
  s.test(`ends with ${wanted} for: ${code}`, async () => {
    const { exitCode, stderr } = await run({ "a.ts": `export {};\n${code}\n` });
    assert.is(exitCode, wanted);
    if (wanted === 1 || wanted === 13) assert.not.equal(stderr, "");
  });
}

s.test("prints an error of the project as code, message and hint, with a stack only when verbose", async () => {
  const script = 'import { createEngine } from "tapvisor";\nawait createEngine({ plugins: 5 as never });\n';
  const [brief, verbose] = await Promise.all([run({ "a.ts": script }), run({ "a.ts": script }, [], ["--verbose"])]);
  assert.equal([brief.exitCode, verbose.exitCode], [1, 1]);
  assert.match(brief.stderr, /^error\[INVALID_INPUT\]: Cannot use engine\.plugins 5/);
  assert.not.match(brief.stderr, /\n\s+at /);
  assert.match(verbose.stderr, /a\.ts:2/);
});

s.test("names what there is when a script imports a name that the package has not", async () => {
  const { exitCode, stderr } = await run({ "a.ts": 'import "tapvisor/plugni";' });
  assert.is(exitCode, 1);
  assert.match(stderr, /Cannot import "tapvisor\/plugni": wanted one of tapvisor, tapvisor\/plugin/);
});

s.test("refuses what is missing with 127 and what cannot be run with 126", async () => {
  await using directory = await tempDirectory();
  writeFileSync(join(directory.path, "data.json"), "{}");
  writeFileSync(join(directory.path, "real.ts"), "console.log(import.meta.url)");
  symlinkSync("real.ts", join(directory.path, "link.ts"));
  const at = (script: string) => cli(["run", script], { cwd: directory.path });
  const [missing, folder, data, link] = await Promise.all([at("none.ts"), at("."), at("data.json"), at("link.ts")]);
  assert.equal([missing.exitCode, folder.exitCode, data.exitCode, link.exitCode], [127, 126, 126, 0]);
  assert.match(missing.stderr, `Cannot run "none.ts": no such file`);
  assert.match(folder.stderr, "it is not a file");
  assert.match(data.stderr, "wanted a file that ends in .ts");
  assert.is(link.stdout, `file://${directory.path}/real.ts\n`);
});

if (process.getuid?.() === 0) s.skip("refuses a script that cannot be read", "root can read every file");
else {
  s.test("refuses a script that cannot be read", async () => {
    await using directory = await tempDirectory();
    writeFileSync(join(directory.path, "a.ts"), "");
    chmodSync(join(directory.path, "a.ts"), 0);
    assert.is((await cli(["run", "a.ts"], { cwd: directory.path })).exitCode, 126);
  });
}

s.run();
