import { existsSync } from "node:fs";
import { mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { cli } from "../support/cli.ts";
import { startScript } from "../support/script.ts";
import { suite } from "../support/suite.ts";
import { tempDirectory } from "../support/temp.ts";

const commands = suite("tapvisor ps, inspect, stop, rm, gc, hooks");
/** Each test starts several processes, a second of work each. */
const s = {
  test: (name: string, body: () => Promise<void>) => commands.test(name, body, { timeoutMs: 120_000 }),
  run: () => commands.run(),
};

/** A directory whose configuration is the fakes with records on disk: each command is a process of its own, with a fake world of its own. */
async function host(...plugins: string[]) {
  const directory = await tempDirectory();
  const at = (name: string) => join(directory.path, name);
  const config = (...more: string[]) =>
    JSON.stringify({ preset: "fake", root: "./root", slots: { stateStore: "fs" }, plugins: ["tapvisor/plugins/state-fs", ...more] });
  await mkdir(at("rootfs"));
  await writeFile(at("tapvisor.config.json5"), config(...plugins));
  const tapvisor = (line: string) => cli(line.split(" "), { cwd: directory.path });
  return {
    at,
    config,
    tapvisor,
    json: async (line: string) => JSON.parse((await tapvisor(line)).stdout),
    /** Runs a script that makes sandboxes; it must succeed. */
    async make(body: string) {
      await writeFile(at("make.ts"), `import { createEngine } from "tapvisor";\n${body}`);
      const { exitCode, stderr } = await tapvisor("run make.ts");
      assert.is(exitCode, 0, stderr);
    },
    records: async () => (await readdir(at("root/state")).catch(() => [])).filter((name) => name.endsWith(".json")),
    [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose](),
  };
}

const DETACHED = `
  await using engine = await createEngine();
  const box = await engine.runSandbox({ id: "box", detached: true, annotations: { by: "a test" } });
  await box.run({ id: "web", rootfs: "./rootfs", command: ["cat", "-"], env: { TOKEN: "s3cret" } });
`;

s.test("ps lists what another process made", async () => {
  await using at = await host();
  assert.is((await at.tapvisor("ps")).stdout, "ID  STATE  CREATED  OWNER  CONTAINERS\n");
  await at.make(DETACHED);
  const { exitCode, stdout, stderr } = await at.tapvisor("ps");
  assert.equal([exitCode, stderr], [0, ""]);
  assert.match(stdout, /^ID +STATE +CREATED +OWNER +CONTAINERS\nbox +running +\d{4}-\S+Z +detached +1\n$/);
  const [{ created, ...box }] = await at.json("ps --json");
  assert.equal(box, { id: "box", state: "running", detached: true, containers: 1 });
  assert.ok(Date.parse(created) > 0);
});

s.test("inspect shows state, containers and holdings, and no environment of a container", async () => {
  await using at = await host();
  await at.make(DETACHED);
  const { exitCode, stdout } = await at.tapvisor("inspect box");
  assert.is(exitCode, 0);
  for (const line of [/^state +running$/m, /^owner +none$/m, /^annotation +by=a test$/m, /^ {2}web +running +cat -$/m])
    assert.match(stdout, line);
  assert.match(stdout, /^ {2}launch-vm +vm +hypervisor:fake +- +held$/m);
  assert.not.match(stdout, "left:");
  const text = (await at.tapvisor("inspect box --json")).stdout;
  const found = JSON.parse(text);
  assert.equal([found.id, found.state, found.detached, found.left], ["box", "running", true, []]);
  assert.equal(found.containers[0].command, ["cat", "-"]);
  assert.not.match(text + stdout, "s3cret");
});

s.test("stop, then rm: each says what it did, and nothing is left", async () => {
  await using at = await host();
  await at.make(DETACHED);
  assert.is((await at.tapvisor("stop box")).stdout, "box stopped\n");
  assert.equal(
    (await at.json("ps --json")).map(({ id, state }: { id: string; state: string }) => [id, state]),
    [["box", "stopped"]],
  );
  assert.is((await at.tapvisor("rm box")).stdout, "box removed\n");
  assert.equal([await at.records(), existsSync(at.at("root/run/box"))], [[], false]);
});

s.test("rm --force removes a sandbox at once", async () => {
  await using at = await host();
  await at.make(DETACHED);
  assert.is((await at.tapvisor("rm --force box")).exitCode, 0);
  assert.equal(await at.records(), []);
});

s.test("an id that is not there, or cannot be one, ends with 125 and the error's code, and lists those there are", async () => {
  await using at = await host();
  await at.make(DETACHED);
  for (const verb of ["inspect", "stop", "rm"]) {
    const [unknown, bad] = await Promise.all([at.tapvisor(`${verb} bax`), at.tapvisor(`${verb} ../box`)]);
    assert.equal([unknown.exitCode, unknown.stdout, bad.exitCode], [125, "", 125]);
    assert.match(unknown.stderr, 'error[NOT_FOUND]: Cannot find sandbox "bax": there is box');
    assert.match(bad.stderr, "error[INVALID_INPUT]");
  }
  assert.is((await at.records()).length, 1);
});

s.test("a sandbox in a live script's hands is shown with its owner, kept by gc, and refused to stop and rm", async () => {
  await using at = await host();
  const script = await startScript(
    at.at("."),
    "holder",
    `import { createEngine } from "tapvisor";
     await using engine = await createEngine({ config: ${JSON.stringify(at.at("tapvisor.config.json5"))} });
     await engine.runSandbox({ id: "box" });
     console.log("up");
     await new Promise((resolve) => setTimeout(resolve, 600_000));`,
  );
  await script.line("up");
  const { pid } = script.child;
  assert.match((await at.tapvisor("ps")).stdout, new RegExp(`^box +running +\\S+ +${pid} +0$`, "m"));
  assert.match((await at.tapvisor("inspect box")).stdout, new RegExp(`^owner +process ${pid}, alive$`, "m"));
  for (const line of ["stop box --force", "rm box --force"]) {
    const { exitCode, stderr } = await at.tapvisor(line);
    assert.is(exitCode, 125);
    assert.match(stderr, `error[LOCKED]: Cannot attach to sandbox "box": process ${pid} has it`);
  }
  const kept = await at.tapvisor("gc");
  assert.equal([kept.exitCode, kept.stdout], [0, "kept box: it is in use\n"]);

  script.child.kill("SIGKILL");
  await script.ended;
  assert.match((await at.tapvisor("ps")).stdout, /^box +running +\S+ +gone +0$/m);
  assert.match((await at.tapvisor("inspect box")).stdout, new RegExp(`^owner +process ${pid}, gone$`, "m"));
  const collected = await at.tapvisor("gc");
  assert.equal([collected.exitCode, collected.stdout], [0, "collected box\n"]);
  assert.equal([await at.records(), (await at.tapvisor("gc")).stdout], [[], "Nothing to give back\n"]);
});

s.test("stop of a sandbox that was to die with its script removes it, since that script is dead", async () => {
  await using at = await host();
  await at
    .make("const engine = await createEngine(); await engine.runSandbox({ id: 'box' }); process.kill(process.pid, 'SIGKILL');")
    .catch(() => {});
  assert.is((await at.records()).length, 1);
  assert.is((await at.tapvisor("stop box")).stdout, "box stopped and removed: it was not detached\n");
  assert.equal(await at.records(), []);
});

const STUCK = `
  import { definePlugin } from "tapvisor/plugin";
  import { sharedFakeWorld } from "tapvisor/testing";
  export default definePlugin("stuck", () => {
    for (let time = 0; time < 20; time++)
      sharedFakeWorld().failNext("hypervisor.vm.release", { when: "before", error: new Error("stu\\u001b[31mck\\u009b") });
  });
`;

s.test(
  "what could not be released is named by inspect and by gc, which fails until it can be; its text cannot steer a terminal",
  async () => {
    await using at = await host("./stuck.ts");
    await writeFile(at.at("stuck.ts"), STUCK);
    await at.make(`
    import { sharedFakeWorld } from "tapvisor/testing";
    const engine = await createEngine();
    sharedFakeWorld().failNext("agent.createSandbox", { when: "after" });
    await engine.createSandbox({ id: "box" }).catch(() => {});
  `);
    const shown = (await at.tapvisor("inspect box")).stdout;
    assert.match(shown, /^state +failed$/m);
    assert.match(shown, /^left:\n {2}launch-vm +vm +hypervisor:fake +stu\\u001b\[31mck\\u009b$/m);
    const text = (await at.tapvisor("inspect box --json")).stdout;
    assert.not.match(text, /[\x7f-\x9f]/);
    assert.is(JSON.parse(text).left[0].reason, "stu\u001b[31mck\u009b");

    const failed = await at.tapvisor("gc");
    assert.is(failed.exitCode, 1);
    assert.is(failed.stdout, "left box: launch-vm (hypervisor:fake): stu\\u001b[31mck\\u009b\n");
    const report = await at.tapvisor("gc --json");
    assert.is(report.exitCode, 1);
    assert.equal(
      JSON.parse(report.stdout).failed.map(({ id }: { id: string }) => id),
      ["box"],
    );

    await writeFile(at.at("well.json5"), at.config());
    const mended = await at.tapvisor("gc --config well.json5");
    assert.equal([mended.exitCode, mended.stdout], [0, "collected box\n"]);
  },
);

s.test("a record that cannot be read is named with its file by ps, inspect and gc", async () => {
  await using at = await host();
  await at.make(DETACHED);
  const file = at.at("root/state/bad.json");
  await writeFile(file, "{ half");
  const [ps, inspect, gc] = await Promise.all(["ps", "inspect bad", "gc"].map((line) => at.tapvisor(line)));
  assert.ok(ps && inspect && gc);
  assert.match(ps.stdout, /^bad +corrupt/m);
  assert.match(inspect.stderr, "error[STATE_CORRUPT]");
  assert.equal([ps.exitCode, inspect.exitCode, gc.exitCode], [0, 125, 1]);
  for (const text of [ps.stdout, inspect.stderr, gc.stdout]) assert.match(text, file);
});

s.test("hooks shows who taps what in the order the taps run", async () => {
  await using at = await host("./late.ts", "./early.ts");
  assert.is((await at.tapvisor("hooks")).exitCode, 125, "its plugins are not there yet");
  const plugin = (name: string, stage: number) => `
    import { definePlugin } from "tapvisor/plugin";
    export default definePlugin("${name}", (ctx) => {
      ctx.hooks.beforeStart.tapPromise({ stage: ${stage} }, async () => {});
      ctx.hooks.afterAttach.tapPromise(async () => {});
    });`;
  await writeFile(at.at("late.ts"), plugin("late", 5));
  await writeFile(at.at("early.ts"), plugin("early", -1));
  const { exitCode, stdout } = await at.tapvisor("hooks");
  assert.is(exitCode, 0);
  assert.is(
    stdout.replaceAll(/ +/g, " "),
    "HOOK PLUGIN STAGE\nafterAttach late 0\nafterAttach early 0\nbeforeStart early -1\nbeforeStart late 5\n",
  );
  assert.equal((await at.json("hooks --json"))[2], { hook: "beforeStart", plugin: "early", stage: -1 });
  await writeFile(at.at("plain.json5"), at.config());
  assert.match((await at.tapvisor("hooks --config plain.json5")).stdout, "No plugin");
});

s.test("--root looks elsewhere", async () => {
  await using at = await host();
  await at.make(DETACHED);
  assert.equal(await at.json("ps --json --root ./other"), []);
  assert.is((await at.json(`ps --json --root ${at.at("root")}`)).length, 1);
});

s.run();
