import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import * as kit from "tapvisor/testing";
import * as assert from "uvu/assert";
import { SLOT_NAMES } from "../../src/contracts/slots.ts";
import { createHooks } from "../../src/engine/hooks.ts";
import { cli } from "../support/cli.ts";
import { suite } from "../support/suite.ts";

const s = suite("the tables of the documentation");
const GUIDE = readFileSync("docs/plugins.md", "utf8");
const README = readFileSync("README.md", "utf8");

s.test("every `npm run` that the documents name is a script of the package", () => {
  const { scripts } = JSON.parse(readFileSync("package.json", "utf8"));
  const texts = [README, GUIDE, readFileSync("bench/README.md", "utf8")];
  const named = texts.flatMap((text) => [...text.matchAll(/npm run ([\w:]+)/g)]);
  assert.ok(named.length > 0);
  for (const [words, name = ""] of named) assert.ok(name in scripts, words);
});

s.test("docs/plugins.md has a row for every hook, slot and suite, and for nothing else", () => {
  /** The names in the first column of the table whose heading begins so. */
  const firstColumn = (heading: string) => {
    const table = GUIDE.slice(GUIDE.indexOf(`\n| ${heading} |`)).split("\n\n")[0] ?? "";
    const rows = table.split("\n").slice(3);
    return rows.flatMap((row) => row.split("|")[1]?.match(/\w+(?=`)/g) ?? []).sort();
  };
  assert.equal(firstColumn("hook"), Object.keys(createHooks()).sort());
  assert.equal(firstColumn("slot"), [...SLOT_NAMES].sort());
  const suites = Object.keys(kit).filter((name) => name.endsWith("Suite"));
  assert.equal(firstColumn("suite"), suites.sort());
});

s.test("README's table of a container's options has every one of them, and no other", () => {
  const source = readFileSync("src/config/container-config.ts", "utf8");
  const declared = source.slice(source.indexOf("export interface ContainerOptions {")).split("\n}\n")[0] ?? "";
  const names = [...declared.matchAll(/^ {2}readonly (\w+)\??:/gm)].map(([, name]) => name);
  const table = README.slice(README.indexOf("\n| option | what it is |")).split("\n\n")[0] ?? "";
  const documented = table
    .split("\n")
    .slice(3)
    .flatMap((row) => [...(row.split("|")[1] ?? "").matchAll(/`(\w+)`/g)].map(([, name]) => name));
  assert.ok(names.length > 20);
  assert.equal([...documented].sort(), [...names].sort());
});

/** The commands of README's table with the flags that stand in their first column. */
function documentedCommands(): Map<string, readonly string[]> {
  const rows = README.matchAll(/^\| `tapvisor ([a-z]+)([^`]*)` \|/gm);
  return new Map([...rows].map(([, name = "", rest = ""]) => [name, rest.match(/--[a-z]+/g) ?? []]));
}

s.test(
  "README's table has every command of the program and no other, each with flags that it has",
  async () => {
    const cwd = process.cwd();
    const commands = documentedCommands();
    const { stdout } = await cli(["--help"], { cwd });
    const listed = stdout.slice(stdout.indexOf("Commands:")).split("\n\n")[0] ?? "";
    assert.equal([...commands.keys()].sort(), [...listed.matchAll(/^ {2}([a-z]+)/gm)].map(([, name]) => name).sort());
    for (const [name, flags] of commands) {
      if (flags.length === 0) continue;
      const help = await cli([name, "--help"], { cwd });
      for (const flag of flags) assert.match(help.stdout, `${flag} `, `tapvisor ${name} has no ${flag}`);
    }
  },
  { timeoutMs: 120_000 },
);

s.test("every plugin, example plugins too, has a README that the documentation's tests read", () => {
  const folders = ["plugins", "examples/plugins"].flatMap((area) =>
    readdirSync(area, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => join(area, name)),
  );
  for (const folder of folders)
    assert.ok(readFileSync(join(folder, "README.md"), "utf8").startsWith(`# ${folder.split("/").at(-1)}\n`), folder);
});

s.run();
