import { spawnSync } from "node:child_process";
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { lookAround } from "./leaks.ts";
import { findTests } from "./runner/find-tests.ts";
import { type Limits, runTests, type Totals } from "./runner/run-tests.ts";
import { suite } from "./suite.ts";
import { tempDirectory } from "./temp.ts";

const FIXTURES = "test/support/fixtures/guard";
const fixture = (name: string) => join(FIXTURES, `${name}.fixture.ts`);

async function guard(names: readonly string[], limits: Partial<Limits> = {}): Promise<{ totals: Totals; text: string }> {
  let text = "";
  const write = (more: string) => {
    text += more;
  };
  const files = { unit: names.map(fixture), real: [] };
  const signal = new AbortController().signal;
  const totals = await runTests({ files, write, signal, machine: { directories: [] }, limits: { settle: 200, ...limits } });
  return { totals, text };
}

const s = suite("test/run.ts");

s.test("counts passed and skipped tests, and prints why one was skipped", async () => {
  const { totals, text } = await guard(["passes", "skips"]);
  assert.equal(totals, { passed: 2, failed: 0, skipped: 1 });
  assert.match(text, "SKIP skips: needs a moon: there is none here");
});

const DEFECTS: Readonly<Record<string, RegExp>> = {
  fails: /1 of 2 tests did not pass/,
  "throws-null": /1 of 1 tests did not pass/,
  "throwing-hook": /1 of 1 tests did not pass/,
  "forgets-run": /printed no single summary/,
  "forgets-one-run": /\.run\(\) is missing for: second/,
  "registers-nothing": /registered no test/,
  "exits-early": /printed no single summary/,
  "skips-silently": /skipped 1 tests and gave 0 reasons/,
  "leaks-process": /left behind: process \d+: sleep 600/,
  "leaks-socket": /left behind: unix socket .*left\.sock/,
  "leaks-file": /left behind: file .*left\.txt/,
  "leaks-record": /left behind: file .*sandbox\.json/,
};

for (const [name, problem] of Object.entries(DEFECTS)) {
  s.test(`fails a file that ${name.replaceAll("-", " ")}`, async () => {
    const { totals, text } = await guard([name]);
    assert.is(totals.failed, 1);
    assert.match(text, problem);
    assert.match(text, `FAIL  ${fixture(name)}`);
  });
}

s.test("ends a file that hangs at its deadline", async () => {
  const { totals, text } = await guard(["hangs"], { unit: 1_500 });
  assert.is(totals.failed, 1);
  assert.match(text, "not finished at its deadline");
});

s.test("ends a file whose tests ended and that goes on", async () => {
  const { totals, text } = await guard(["never-exits"], { exit: 200 });
  assert.equal(totals, { passed: 1, failed: 1, skipped: 0 });
  assert.match(text, "its tests ended and it did not");
});

s.test("blames a leak on the file that did it, not on one that runs beside it", async () => {
  const { totals, text } = await guard(["leaks-process", "passes"]);
  assert.equal(totals, { passed: 3, failed: 1, skipped: 0 });
  assert.match(text, `ok    ${fixture("passes")}`);
});

s.test("takes away what a file left", async () => {
  await using kept = await tempDirectory();
  const mark = `GUARD_KEEP=${kept.path}`;
  process.env.GUARD_KEEP = kept.path;
  await guard(["leaks-process", "leaks-socket"]);
  assert.is((await lookAround({ directories: [], mark })).size, 0);
});

if (process.getuid?.() === 0) {
  s.test("takes a left mount away without removing the files it shows", async () => {
    await using kept = await tempDirectory();
    writeFileSync(join(kept.path, "precious"), "");
    process.env.GUARD_KEEP = kept.path;
    const { totals, text } = await guard(["leaks-mount"]);
    assert.is(totals.failed, 1);
    assert.match(text, /left behind: mount .*left mount/);
    assert.equal(readdirSync(kept.path), ["precious"]);
  });
} else s.skip("takes a left mount away without removing the files it shows", "only root can mount");

s.test("ends with the totals as its last line, and a code that says whether anything failed", () => {
  const run = (name: string) => {
    const { status, stdout } = spawnSync(process.execPath, ["--import", "tsx", "test/run.ts", name], {
      encoding: "utf8",
      env: { ...process.env, CI: "" },
    });
    return { status, lastLine: stdout.trimEnd().split("\n").at(-1) };
  };
  assert.equal(run(fixture("passes")), { status: 0, lastLine: "2 passed, 0 failed, 0 skipped" });
  assert.equal(run(fixture("fails")), { status: 1, lastLine: "1 passed, 1 failed, 0 skipped" });
  assert.equal(run("no-such-test"), { status: 1, lastLine: "0 passed, 1 failed, 0 skipped" });
});

s.test("findTests() sets real-machine files apart and never takes a fixture", async () => {
  await using directory = await tempDirectory();
  for (const name of ["a.test.ts", "b.real.test.ts", "c.fixture.ts", "d.ts"]) writeFileSync(join(directory.path, name), "");
  const found = findTests(directory.path, []);
  assert.equal(found, { unit: [join(directory.path, "a.test.ts")], real: [join(directory.path, "b.real.test.ts")] });
  assert.equal(findTests(directory.path, ["a.test"]), { unit: [join(directory.path, "a.test.ts")], real: [] });
  assert.throws(() => findTests(directory.path, ["nothing-like-it"]), /nothing-like-it/);
});

s.run();
