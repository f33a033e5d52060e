import { join } from "node:path";
import { createEngine } from "tapvisor";
import * as assert from "uvu/assert";
import { makeExampleRootfs } from "../../scripts/example-rootfs.ts";
import { hostOf, NOTHING } from "../support/real-engine.ts";
import { startScript } from "../support/script.ts";
import { suite } from "../support/suite.ts";
import { tempDirectory } from "../support/temp.ts";

const s = suite("the end of a script on real QEMU");
const TIMEOUT = { timeoutMs: 180_000 };

async function scene() {
  const directory = await tempDirectory();
  const root = join(directory.path, "root");
  const rootfs = join(directory.path, "rootfs");
  makeExampleRootfs(rootfs);
  const script = (options: string, rest: string) => `
    import { createEngine } from "tapvisor";
    await using engine = await createEngine({ root: ${JSON.stringify(root)} });
    await using sandbox = await engine.runSandbox(${options});
    await using container = await sandbox.run({ id: "web", rootfs: ${JSON.stringify(rootfs)}, command: ["cat"] });
    console.log("up " + sandbox.id);
    ${rest}
  `;
  return { path: directory.path, root, rootfs, script, [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose]() };
}

const forever = "await new Promise((resolve) => setTimeout(resolve, 600_000));";

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  s.test(
    `${signal} gives everything back, and the script ends by that signal`,
    async () => {
      await using world = await scene();
      const script = await startScript(world.path, "script", world.script("", forever));
      await script.line("up ");
      script.child.kill(signal);
      const end = await script.ended;
      assert.is(end.signal, signal, end.stderr);
      assert.equal(await hostOf(world.root), NOTHING);
    },
    TIMEOUT,
  );
}

s.test(
  "an error nobody catches gives everything back before the script ends with code 1",
  async () => {
    await using world = await scene();
    const script = await startScript(world.path, "script", world.script("", 'throw new Error("mine");'));
    const end = await script.ended;
    assert.is(end.code, 1);
    assert.match(end.stderr, "mine");
    assert.equal(await hostOf(world.root), NOTHING);
  },
  TIMEOUT,
);

s.test(
  "kill -9 of the script ends its VM and its file servers; gc() in a new process removes the rest",
  async () => {
    await using world = await scene();
    const script = await startScript(world.path, "script", world.script("{ id: 'box' }", forever));
    await script.line("up ");
    assert.ok((await hostOf(world.root)).processes >= 2, "a VM and a file server run");
    script.child.kill("SIGKILL");
    await script.ended;
    await processesGone(world.root);
    assert.not.equal((await hostOf(world.root)).files, [], "records and run directory are left");
    await using engine = await createEngine({ root: world.root });
    assert.equal(
      (await engine.list()).map(({ id, state }) => [id, state]),
      [["box", "running"]],
    );
    assert.equal(await engine.gc(), { collected: ["box"], kept: [], failed: [], corrupt: [] });
    assert.equal(await hostOf(world.root), NOTHING);
  },
  TIMEOUT,
);

s.test(
  "a detached sandbox outlives its script, and a later process attaches to it with its container still running",
  async () => {
    await using world = await scene();
    const script = await startScript(
      world.path,
      "script",
      `
        import { createEngine } from "tapvisor";
        await using engine = await createEngine({ root: ${JSON.stringify(world.root)} });
        const sandbox = await engine.runSandbox({ id: "box", detached: true });
        await sandbox.run({ id: "web", rootfs: ${JSON.stringify(world.rootfs)}, command: ["cat"] });
        console.log("pid " + JSON.stringify((await sandbox.status()).pid));
      `,
    );
    const end = await script.ended;
    assert.is(end.code, 0, end.stderr);
    await using engine = await createEngine({ root: world.root });
    assert.equal(await engine.gc(), { collected: [], kept: ["box"], failed: [], corrupt: [] });
    const sandbox = await engine.sandbox("box");
    try {
      const web = sandbox.container("web");
      assert.is(web.state, "running");
      web.stdin.end("still here\n");
      assert.is(await web.stdout.text(), "still here\n");
      assert.equal(await web.wait(), { exitCode: 0 });
    } finally {
      await sandbox.stop({ force: true });
      await sandbox.delete();
    }
    assert.equal(await hostOf(world.root), NOTHING);
  },
  TIMEOUT,
);

/** The kernel ends the children of a killed script, a moment after it. There is no event for a process that is not ours. */
async function processesGone(root: string): Promise<void> {
  const deadline = Date.now() + 10_000;
  while ((await hostOf(root)).processes > 0) {
    if (Date.now() > deadline) throw new Error("processes of a killed script still run");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

s.run();
