import * as assert from "uvu/assert";
import { cli } from "../support/cli.ts";
import { suite } from "../support/suite.ts";
import { tempDirectory } from "../support/temp.ts";

const s = suite("tapvisor");

const WRONG: readonly (readonly [line: string, message: RegExp])[] = [
  ["rnu x.ts", /Unknown command "rnu".*\n.*did you mean `tapvisor run`/],
  ["hello.ts", /Unknown command "hello.ts".*\n.*tapvisor run hello\.ts/],
  ["doctor --jsno", /Unknown option "--jsno" of doctor.*\n.*did you mean --json/],
  ["--verbos", /Unknown option "--verbos".*\n.*did you mean --verbose/],
  ["run --json x.ts", /Unknown option "--json" of run/],
  ["run", /script/],
  ["doctor now", /now/],
  ["setup --config", /--config/],
  ["inspect", /id/],
  ["stop a b", /b/],
  ["gc --force", /Unknown option "--force" of gc/],
  ["ps --root", /--root/],
];

for (const [line, message] of WRONG) {
  s.test(`refuses "${line}" with code 2 and says why on stderr`, async () => {
    await using directory = await tempDirectory();
    const { exitCode, stdout, stderr } = await cli(line.split(" "), { cwd: directory.path });
    assert.is(exitCode, 2);
    assert.is(stdout, "");
    assert.match(stderr, message);
  });
}

s.test("without a command it prints the help and ends with code 2; --help ends with 0", async () => {
  await using directory = await tempDirectory();
  const [none, help] = await Promise.all([cli([], { cwd: directory.path }), cli(["--help"], { cwd: directory.path })]);
  assert.equal([none.exitCode, help.exitCode], [2, 0]);
  for (const command of ["run <script>", "setup", "doctor", "ps", "inspect <id>", "stop <id>", "rm <id>", "gc", "hooks"])
    assert.match(help.stdout, command);
  assert.is(none.stdout, help.stdout);
});

s.test("--version prints the package's version", async () => {
  await using directory = await tempDirectory();
  const { exitCode, stdout } = await cli(["--version"], { cwd: directory.path });
  assert.is(exitCode, 0);
  assert.match(stdout, /^tapvisor\/\d+\.\d+\.\d+ /);
});

s.run();
