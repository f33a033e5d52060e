import { definePlugin, isTapvisorError } from "tapvisor";
import * as assert from "uvu/assert";
import { fakeEngine } from "../support/fake-engine.ts";
import { suite } from "../support/suite.ts";

const s = suite("exec");

async function scene(options: Parameters<typeof fakeEngine>[0] = {}) {
  const world = await fakeEngine(options);
  const sandbox = await world.engine.runSandbox({ id: "box" });
  const web = await sandbox.run({ id: "web", rootfs: world.rootfs, command: ["sleep", "1000"] });
  return { world, sandbox, web, [Symbol.asyncDispose]: () => world[Symbol.asyncDispose]() };
}

async function failureOf(work: PromiseLike<unknown>) {
  const thrown = await Promise.resolve(work).then(
    (value) => new Error(`it did not fail: ${JSON.stringify(value)}`),
    (error: unknown) => error,
  );
  if (isTapvisorError(thrown)) return thrown;
  throw thrown;
}

s.test("a process that is awaited gives its exit code and its output", async () => {
  await using at = await scene();
  assert.equal(await at.web.exec(["echo", "two words"]), { exitCode: 0, stdout: "two words\n", stderr: "" });
  assert.is((await at.web.exec(["false"])).exitCode, 1);
});

s.test("an input is written and closed, one that nobody took is closed when the process is awaited", async () => {
  await using at = await scene();
  assert.is((await at.web.exec(["cat"], { input: "text" })).stdout, "text");
  assert.is((await at.web.exec(["cat"], { input: Buffer.from([0, 255]) }).stdout.bytes()).toString("hex"), "00ff");
  assert.is((await at.web.exec(["cat"])).stdout, "");
});

s.test("a process that is iterated gives its lines with their streams", async () => {
  await using at = await scene();
  const lines = [];
  for await (const line of at.web.exec(["echo", "one"])) lines.push(line);
  assert.equal(lines, [{ stream: "stdout", line: "one" }]);
});

s.test("what was read is not in the result again", async () => {
  await using at = await scene();
  const running = at.web.exec(["echo", "once"]);
  assert.is(await running.stdout.text(), "once\n");
  assert.equal(await running, { exitCode: 0, stdout: "", stderr: "" });
});

s.test("a deadline and a signal kill it, and whoever waits for it or reads it hears why", async () => {
  await using at = await scene();
  const late = at.web.exec(["sleep", "2000"], { timeoutMs: 50 });
  const reading = failureOf(late.stdout.text());
  assert.is((await failureOf(late)).code, "TIMEOUT");
  assert.is((await reading).code, "TIMEOUT");
  const control = new AbortController();
  const aborted = at.web.exec(["sleep", "3000"], { signal: control.signal });
  await aborted.started;
  control.abort();
  assert.is((await failureOf(aborted)).code, "ABORTED");
  assert.equal(
    (await at.web.processes()).map(({ command }) => command),
    ["sleep 1000"],
  );
});

s.test("disposing kills what still runs, and what has ended or never began is success", async () => {
  await using at = await scene();
  {
    await using running = at.web.exec(["sleep", "2000"]);
    await running.started;
    assert.is((await at.web.processes()).length, 2);
    await using _over = at.web.exec(["true"]);
    await using _never = at.web.exec(["no-such-command"]);
  }
  assert.is((await at.web.processes()).length, 1);
});

s.test("a command that is not there is COMMAND_NOT_FOUND for everybody who waits", async () => {
  await using at = await scene();
  const missing = at.web.exec(["no-such-command"]);
  assert.is((await failureOf(missing.started)).code, "COMMAND_NOT_FOUND");
  assert.is((await failureOf(missing)).code, "COMMAND_NOT_FOUND");
  assert.is((await failureOf(missing.stdout.text())).code, "COMMAND_NOT_FOUND");
  assert.is((await failureOf(missing.kill())).code, "COMMAND_NOT_FOUND");
});

s.test("one that nobody waits for rejects nothing that nobody handles", async () => {
  await using at = await scene();
  at.web.exec(["no-such-command"]);
  at.web.exec(["true"]);
  await at.web.exec(["true"]);
});

s.test("it is refused in a container that does not run", async () => {
  await using at = await scene();
  await at.web.stop({ force: true });
  assert.is((await failureOf(at.web.exec(["true"]))).code, "INVALID_STATE");
  assert.is((await failureOf(at.web.processes())).code, "INVALID_STATE");
});

s.test("beforeExec may change the words, and vetoes", async () => {
  const careful = definePlugin("careful", ({ hooks }) => {
    hooks.beforeExec.tapPromise(async (event) => {
      if (event.argv[0] === "rm") throw new Error("not here");
      return { ...event, argv: event.argv.map((word) => word.replace("blue", "green")) };
    });
  });
  await using at = await scene({ plugins: [careful()] });
  assert.is((await at.web.exec(["echo", "blue"])).stdout, "green\n");
  const vetoed = await failureOf(at.web.exec(["rm", "-rf", "/"]));
  assert.is(vetoed.code, "HOOK_FAILED");
  assert.match(vetoed.message, "not here");
});

s.test("a terminal has the size that it was given, and another when it is resized", async () => {
  await using at = await scene();
  await using shell = at.web.exec(["cat"], { tty: true, ttySize: { rows: 10, columns: 20 } });
  await shell.started;
  await shell.resizeTty({ rows: 30, columns: 40 });
  const plain = at.web.exec(["cat"]);
  assert.is((await failureOf(plain.resizeTty({ rows: 1, columns: 1 }))).code, "AGENT_FAILED");
  await plain.kill("SIGKILL");
});

const BAD: readonly [string, unknown, unknown, string][] = [
  ["no words", [], {}, "argv"],
  ["an empty name", [""], {}, "argv"],
  ["a string", "ls -l", {}, "argv"],
  ["a NUL", ["a\0b"], {}, "argv.0"],
  ["a variable with =", ["a"], { env: { "A=B": "c" } }, "env.A=B"],
  ["a relative directory", ["a"], { cwd: "here" }, "cwd"],
  ["a bad user", ["a"], { user: { uid: -1 } }, "user.uid"],
  ["a size without a terminal", ["a"], { ttySize: { rows: 1, columns: 1 } }, "ttySize"],
  ["no rows", ["a"], { tty: true, ttySize: { rows: 0, columns: 1 } }, "ttySize.rows"],
  ["a deadline of 0", ["a"], { timeoutMs: 0 }, "timeoutMs"],
  ["a number as input", ["a"], { input: 5 }, "input"],
  ["an unknown option", ["a"], { workdir: "/" }, "workdir"],
];
for (const [what, argv, options, path] of BAD) {
  s.test(`exec() refuses ${what}`, async () => {
    await using at = await scene();
    const before = at.world.world.calls.length;
    const error = await failureOf((async () => at.web.exec(argv as string[], options as object))());
    assert.equal([error.code, (error.data as { path: string }).path], ["INVALID_INPUT", path]);
    assert.is(at.world.world.calls.length, before);
  });
}

s.run();
