import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { makeExampleRootfs } from "../../scripts/example-rootfs.ts";
import { cli } from "../support/cli.ts";
import { hostOf, NOTHING } from "../support/real-engine.ts";
import { startScript } from "../support/script.ts";
import { suite } from "../support/suite.ts";
import { tempDirectory } from "../support/temp.ts";

const s = suite("the command line on sandboxes of real QEMU");
const TIMEOUT = { timeoutMs: 240_000 };

async function scene() {
  const directory = await tempDirectory();
  const root = join(directory.path, "root");
  const rootfs = join(directory.path, "rootfs");
  makeExampleRootfs(rootfs);
  const tapvisor = (...words: string[]) => cli(words, { cwd: directory.path, env: { TAPVISOR_ROOT: root } });
  const noting = (file: string) => [
    { path: "/bin/sh", args: ["sh", "-c", `cat >${join(directory.path, file)}`], env: ["PATH=/usr/bin:/bin"] },
  ];
  const hooks = { prestart: noting("prestart"), poststop: noting("poststop") };
  const body = (options: string, after: string) => `
    import { createEngine } from "tapvisor";
    await using engine = await createEngine({ root: ${JSON.stringify(root)} });
    const sandbox = await engine.runSandbox(${options});
    await sandbox.run({ id: "web", rootfs: ${JSON.stringify(rootfs)}, command: ["cat"], hooks: ${JSON.stringify(hooks)} });
    console.log("up");
    ${after}
  `;
  const told = async (file: string) => JSON.parse(await readFile(join(directory.path, file), "utf8"));
  return { path: directory.path, root, tapvisor, body, told, [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose]() };
}

s.test(
  "a detached sandbox made by `tapvisor run` is seen, stopped and removed by later commands, and nothing is left",
  async () => {
    await using at = await scene();
    await writeFile(join(at.path, "make.ts"), at.body("{ id: 'box', detached: true }", ""));
    const made = await at.tapvisor("run", "make.ts");
    assert.equal([made.exitCode, made.stdout], [0, "up\n"], made.stderr);

    assert.match((await at.tapvisor("ps")).stdout, /^box +running +\S+ +detached +1$/m);
    const inspected = JSON.parse((await at.tapvisor("inspect", "box", "--json")).stdout);
    assert.equal([inspected.state, inspected.vm.alive, inspected.left], ["running", true, []]);
    assert.equal(
      inspected.containers.map(({ id, state }: { id: string; state: string }) => [id, state]),
      [["web", "running"]],
    );
    const { pid, status } = await at.told("prestart");
    assert.equal([pid, status], [inspected.vm.pid, "creating"], "an OCI hook is told the VM's process");
    const kept = await at.tapvisor("gc");
    assert.equal([kept.exitCode, kept.stdout], [0, "kept box: it is in use\n"]);
    const refused = await at.tapvisor("rm", "box");
    assert.is(refused.exitCode, 125);
    assert.match(refused.stderr, 'Cannot remove sandbox "box": it is running\n  hint: stop it first, or `tapvisor rm box --force`');
    assert.ok((await hostOf(at.root)).processes > 0, "it still runs");

    const stopped = await at.tapvisor("stop", "box");
    assert.equal([stopped.exitCode, stopped.stdout], [0, "box stopped\n"], stopped.stderr);
    assert.is((await hostOf(at.root)).processes, 0);
    assert.is((await at.told("poststop")).status, "stopped");
    assert.match((await at.tapvisor("ps")).stdout, /^box +stopped/m);
    const removed = await at.tapvisor("rm", "box");
    assert.equal([removed.exitCode, removed.stdout], [0, "box removed\n"], removed.stderr);
    assert.equal(await hostOf(at.root), NOTHING);
  },
  TIMEOUT,
);

s.test(
  "`tapvisor rm --force` ends a detached sandbox that runs, and `tapvisor gc` gives back what a killed script left",
  async () => {
    await using at = await scene();
    await writeFile(join(at.path, "make.ts"), at.body("{ id: 'box', detached: true }", ""));
    assert.is((await at.tapvisor("run", "make.ts")).exitCode, 0);
    const removed = await at.tapvisor("rm", "box", "--force");
    assert.equal([removed.exitCode, removed.stdout], [0, "box removed\n"], removed.stderr);
    assert.equal(await hostOf(at.root), NOTHING);

    await rm(join(at.path, "poststop"));
    const script = await startScript(
      at.path,
      "script",
      at.body("{ id: 'box' }", "await new Promise((resolve) => setTimeout(resolve, 600_000));"),
    );
    await script.line("up");
    script.child.kill("SIGKILL");
    await script.ended;
    assert.match((await at.tapvisor("ps")).stdout, /^box +running +\S+ +gone +1$/m);
    const collected = await at.tapvisor("gc");
    assert.equal([collected.exitCode, collected.stdout], [0, "collected box\n"], collected.stderr);
    assert.is((await at.told("poststop")).status, "stopped");
    assert.equal(await hostOf(at.root), NOTHING);
  },
  TIMEOUT,
);

s.run();
