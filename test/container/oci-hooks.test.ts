import { existsSync } from "node:fs";
import { chmod, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type ContainerOptions, createEngine, definePlugin, type OciHooksOptions } from "tapvisor";
import * as assert from "uvu/assert";
import { identifyProcess, isAlive } from "../../src/base/process-identity.ts";
import { type FakeEngine, fakeEngine } from "../support/fake-engine.ts";
import { rejects } from "../support/rejects.ts";
import { startScript } from "../support/script.ts";
import { suite } from "../support/suite.ts";
import { tempDirectory } from "../support/temp.ts";

const s = suite("OCI hooks");

/** A fake engine with a running sandbox, and a place for hook scripts; what they say stands in one log. */
async function scene(options: Parameters<typeof fakeEngine>[0] = {}) {
  const world = await fakeEngine(options);
  const sandbox = await world.engine.runSandbox({ id: "box" });
  const log = join(world.directory, "log");
  await writeFile(log, "");
  const hook = async (name: string, body: string) => {
    const path = join(world.directory, name);
    await writeFile(path, `#!/bin/sh\n${body}\n`);
    await chmod(path, 0o755);
    return { path };
  };
  return {
    world,
    sandbox,
    hook,
    /** A hook that notes its name and the status it was told. */
    noting: (name: string, then = "") =>
      hook(name, `state=$(cat); status=\${state#*'"status":"'}; echo "${name} \${status%%'"'*}" >>${log}; ${then}`),
    said: async () => (await readFile(log, "utf8")).split("\n").filter(Boolean),
    options: (hooks: OciHooksOptions, more: Partial<ContainerOptions> = {}): ContainerOptions => ({
      id: "web",
      rootfs: world.rootfs,
      command: ["sleep", "60"],
      ...more,
      hooks,
    }),
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  };
}

const without = async (world: FakeEngine) => (await world.everything()) as object;

s.test("each phase runs at its time, in order, with the status the specification names", async () => {
  await using at = await scene();
  const note = (name: string) => at.noting(name, `[ ! -e ${at.world.directory}/web-is-ready ] || echo late >>${at.world.directory}/log`);
  const hooks = {
    createRuntime: [await note("runtime")],
    prestart: [await note("first"), await note("second")],
    poststart: [await at.noting("poststart")],
    poststop: [await at.noting("poststop-1"), await at.noting("poststop-2")],
  };
  const web = await at.sandbox.createContainer(at.options(hooks));
  assert.is(web.state, "ready");
  assert.equal(await at.said(), ["first creating", "second creating", "runtime creating"]);
  await web.start();
  assert.equal((await at.said()).slice(3), ["poststart running"]);
  await web.stop({ force: true });
  assert.is((await at.said()).length, 4);
  await web.delete();
  assert.equal((await at.said()).slice(4), ["poststop-1 stopped", "poststop-2 stopped"]);
});

s.test("hooks run once the guest has the container and before it is ready; poststop when the guest has it no more", async () => {
  const steps: string[] = [];
  await using at = await scene({ probe: ({ phase, step }) => void steps.push(`${phase} ${step}`) });
  await using web = await at.sandbox.createContainer(at.options({ prestart: [await at.noting("a")], poststop: [await at.noting("b")] }));
  const created = steps.filter((step) => step.startsWith("before ")).slice(-3);
  assert.equal(created, ["before create-guest-container", "before run-hooks", "before commit"]);
  await web.delete();
  assert.equal(
    steps.filter((step) => step.startsWith("release ")),
    ["release create-guest-container", "release attach-share", "release prepare-rootfs", "release run-hooks"],
  );
});

s.test("a hook gets the state on stdin, its own argv[0], and exactly the environment it was given", async () => {
  await using at = await scene();
  const out = join(at.world.directory, "out");
  const hook = await at.hook(
    "look",
    `cat >${out}.state; tr '\\0' '\\n' </proc/$$/environ >${out}.env; echo "$@" >${out}.args; pwd >${out}.cwd`,
  );
  const given = { ...hook, args: ["me", "one", "two words"], env: ["A=1", "B=x=y", "EMPTY="] };
  await using _web = await at.sandbox.createContainer(at.options({ createRuntime: [given] }, { annotations: { note: "kept" } }));
  const state = JSON.parse(await readFile(`${out}.state`, "utf8"));
  const bundle = join(at.world.directory, "root/run/box/bundle-web");
  assert.equal(state, { ociVersion: "1.1.0", id: "web", status: "creating", bundle, annotations: { note: "kept" } });
  assert.is(await readFile(`${out}.env`, "utf8"), "A=1\nB=x=y\nEMPTY=\n");
  assert.is(await readFile(`${out}.args`, "utf8"), "one two words\n");
  assert.is(await readFile(`${out}.cwd`, "utf8"), "/\n");
});

s.test("the program sees itself called by args[0]", async () => {
  await using at = await scene();
  const code = 'process.exit(process.argv0 === "me" ? 0 : 9)';
  const hook = { path: process.execPath, args: ["me", "-e", code] };
  await using web = await at.sandbox.createContainer(at.options({ prestart: [hook] }));
  assert.is(web.state, "ready");
});

s.test("the bundle has the specification in terms of the host while the container exists, and is gone after", async () => {
  await using at = await scene();
  const source = join(at.world.directory, "data");
  await mkdir(source);
  const bundle = join(at.world.directory, "root/run/box/bundle-web");
  const poststop = await at.hook("look", `cp ${bundle}/config.json ${at.world.directory}/seen`);
  const mounts = [{ source, target: "/data", readonly: true }];
  const web = await at.sandbox.createContainer(at.options({ poststop: [poststop] }, { mounts, rootfs: at.world.rootfs }));
  await web.delete();
  assert.not.ok(existsSync(bundle));
  const spec = JSON.parse(await readFile(join(at.world.directory, "seen"), "utf8"));
  assert.is(spec.root.path, at.world.rootfs);
  assert.is(spec.mounts.at(-1).source, source);
  assert.is(spec.hooks.poststop[0].path, poststop.path);
});

for (const phase of ["prestart", "createRuntime"] as const) {
  s.test(`a failing ${phase} hook rolls the create back to nothing, quotes what it said, and lets poststop run`, async () => {
    await using at = await scene();
    const before = await without(at.world);
    const bad = await at.hook("bad", "echo fine; printf 'no \\033[31mway\\n' >&2; exit 3");
    const hooks = { [phase]: [bad, await at.noting("never")], poststop: [await at.noting("undo")] };
    const error = await rejects(at.sandbox.createContainer(at.options(hooks)), "OCI_HOOK_FAILED");
    assert.match(error.message, `Cannot run the ${phase} hook "${bad.path}" of container "web": it ended with exit code 3, wanted 0`);
    assert.match(error.message, 'stdout "fine\\n", stderr "no \\u001b[31mway\\n"');
    assert.equal([error.data.exitCode, error.data.timedOut], [3, false]);
    assert.equal(error.rollback?.left, []);
    assert.equal(error.rollback?.undone, ["create-guest-container", "attach-share", "prepare-rootfs", "run-hooks"]);
    assert.equal(await at.said(), ["undo stopped"]);
    assert.equal(await without(at.world), before);
    const again = await at.sandbox.createContainer(at.options({}));
    assert.is(again.state, "ready");
  });
}

s.test("poststop does not run when the create failed before any hook", async () => {
  await using at = await scene();
  at.world.world.failNext("agent.createContainer", { when: "before" });
  await at.sandbox.createContainer(at.options({ prestart: [await at.noting("a")], poststop: [await at.noting("b")] })).catch(() => {});
  assert.equal(at.world.world.unusedFaults, []);
  assert.equal(await at.said(), []);
});

s.test("a hook that hangs is killed with all it started, and the error says so", async () => {
  await using at = await scene();
  const before = await without(at.world);
  const pids = join(at.world.directory, "pids");
  const hanging = { ...(await at.hook("hang", `sleep 600 & echo $! $$ >${pids}; echo waiting; wait`)), timeout: 1 };
  const error = await rejects(at.sandbox.createContainer(at.options({ prestart: [hanging] })), "OCI_HOOK_FAILED");
  assert.match(error.message, "it did not end within 1 s and was killed with its process group");
  assert.match(error.message, 'stdout "waiting\\n"');
  assert.is(error.data.timedOut, true);
  await gone(pids);
  assert.equal(await without(at.world), before);
});

s.test("the caller's signal kills a running hook, and the create rolls back", async () => {
  await using at = await scene();
  const before = await without(at.world);
  const [pids, caller] = [join(at.world.directory, "pids"), new AbortController()];
  const hanging = await at.hook("hang", `sleep 600 & echo $! $$ >${pids}.new; mv ${pids}.new ${pids}; wait`);
  const creating = at.sandbox.createContainer(at.options({ prestart: [hanging] }), { signal: caller.signal });
  creating.catch(() => {});
  while (!existsSync(pids)) await new Promise((resolve) => setImmediate(resolve));
  caller.abort();
  const error = await rejects(creating, "ABORTED");
  assert.equal(error.rollback?.left, []);
  await gone(pids);
  assert.equal(await without(at.world), before);
});

s.test("of what a hook says only the last 64 KiB are kept", async () => {
  await using at = await scene();
  const chatty = await at.hook("chatty", "head -c 300000 /dev/zero | tr '\\0' x; echo end; exit 1");
  const error = await rejects(at.sandbox.createContainer(at.options({ prestart: [chatty] })), "OCI_HOOK_FAILED");
  assert.is(Buffer.byteLength(error.data.stdout.replace("\\n", "\n")), 64 * 1024);
  assert.match(error.data.stdout, /xend\\n$/);
});

s.test("what a hook leaves in the background neither holds up nor ends with it", async () => {
  await using at = await scene();
  const pids = join(at.world.directory, "pids");
  await using _web = await at.sandbox.createContainer(at.options({ prestart: [await at.hook("daemon", `sleep 600 & echo $! >${pids}`)] }));
  const daemon = await identifyProcess(Number(await readFile(pids, "utf8")));
  assert.ok(daemon, "still there");
  process.kill(daemon.pid, "SIGKILL");
});

s.test("a failing or hanging poststart or poststop is logged, the others run, and the verb succeeds", async () => {
  await using at = await scene({ releaseTimeoutMs: 2_000 });
  const bad = await at.hook("bad", "exit 1");
  const pids = join(at.world.directory, "pids");
  const hang = { ...(await at.hook("hang", `echo $$ >${pids}; exec sleep 600`)), timeout: 1 };
  const hooks = { poststart: [bad, hang, await at.noting("up")], poststop: [hang, bad, await at.noting("down")] };
  const web = await at.sandbox.run(at.options(hooks));
  assert.is(web.state, "running");
  await gone(pids);
  await web.stop({ force: true });
  await web.delete();
  await gone(pids);
  assert.equal(await at.said(), ["up running", "down stopped"]);
  assert.equal(at.sandbox.containers(), []);
});

s.test("poststop runs when the sandbox goes with its containers, and when its VM has died", async () => {
  await using at = await scene();
  await at.sandbox.run(at.options({ poststop: [await at.noting("down")] }));
  at.world.world.killVm("box");
  assert.is((await at.sandbox.status()).state, "stopped");
  assert.equal(await at.said(), ["down stopped"]);
  await at.sandbox.delete();
  assert.is((await at.said()).length, 1, "it ran once");
  await using other = await at.world.engine.runSandbox({ id: "other" });
  await other.run(at.options({ poststop: [await at.noting("other")] }));
  await other[Symbol.asyncDispose]();
  assert.equal((await at.said()).slice(1), ["other stopped"]);
});

s.test("a stopped container that starts again is removed from the VM and created in it anew: so are its hooks", async () => {
  await using at = await scene();
  const hooks = { prestart: [await at.noting("up")], poststart: [await at.noting("run")], poststop: [await at.noting("down")] };
  const web = await at.sandbox.run(at.options(hooks));
  await web.stop({ force: true });
  await web.start();
  assert.equal(await at.said(), ["up creating", "run running", "down stopped", "up creating", "run running"]);
});

s.test("gc() kills the hook that a script was running when it was killed, and runs poststop", async () => {
  await using directory = await tempDirectory();
  const [pids, undone, rootfs] = [join(directory.path, "pids"), join(directory.path, "undone"), join(directory.path, "rootfs")];
  await mkdir(rootfs);
  const shell = (name: string, script: string) => ({ path: "/bin/sh", args: [name, "-c", script], env: [`PATH=${process.env.PATH}`] });
  const hooks = {
    prestart: [shell("hang", `cat >/dev/null; sleep 600 & echo $! $$ >${pids}; echo; wait`)],
    poststop: [shell("undo", `cat >${undone}`)],
  };
  const options = {
    config: { preset: "fake", slots: { stateStore: "fs" }, plugins: ["tapvisor/plugins/state-fs"] },
    root: join(directory.path, "root"),
  };
  const script = await startScript(
    directory.path,
    "script",
    `import { existsSync, readFileSync } from "node:fs";
     import { createEngine } from "tapvisor";
     const engine = await createEngine(${JSON.stringify(options)});
     const sandbox = await engine.runSandbox({ id: "box" });
     const container = { id: "web", rootfs: ${JSON.stringify(rootfs)}, command: ["true"], hooks: ${JSON.stringify(hooks)} };
     void sandbox.createContainer(container);
     while (!existsSync("${pids}") || readFileSync("${pids}").length === 0) await new Promise((resolve) => setImmediate(resolve));
     console.log("hanging");
     setInterval(() => {}, 1000);`,
  );
  await script.line("hanging");
  script.child.kill("SIGKILL");
  await script.ended;
  await using later = await createEngine(options);
  assert.equal(await later.gc(), { collected: ["box"], kept: [], failed: [], corrupt: [] });
  await gone(pids);
  assert.is(JSON.parse(await readFile(undone, "utf8")).status, "stopped");
});

s.test("a tap may add hooks before a container is created", async () => {
  const path = "/bin/false";
  const strict = definePlugin("strict", (ctx) => {
    ctx.hooks.beforeCreate.tapPromise(async (event) =>
      event.container ? { ...event, config: { ...event.config, hooks: { prestart: [{ path }] } } } : event,
    );
  });
  await using at = await scene({ plugins: [strict()] });
  const error = await rejects(at.sandbox.createContainer({ rootfs: at.world.rootfs, command: ["true"] }), "OCI_HOOK_FAILED");
  assert.is(error.data.path, path);
});

const WRONG: readonly (readonly [hooks: unknown, path: string, wanted: string])[] = [
  [{ prestart: [{ path: "bin/x" }] }, "hooks.prestart.0.path", "absolute"],
  [{ poststop: [{ path: "/bin/true" }, { path: "/no/such" }] }, "hooks.poststop.1.path", "can be executed"],
  [{ prestart: [{ path: "/etc/passwd" }] }, "hooks.prestart.0.path", "can be executed"],
  [{ prestart: [{ path: "/tmp" }] }, "hooks.prestart.0.path", "can be executed"],
  [{ prestart: [{ path: "/bin/true", timeout: 0 }] }, "hooks.prestart.0.timeout", "1 or more"],
  [{ prestart: [{ path: "/bin/true", timeout: 1.5 }] }, "hooks.prestart.0.timeout", "whole seconds"],
  [{ prestart: [{ path: "/bin/true", timeout: 1e9 }] }, "hooks.prestart.0.timeout", "at most"],
  [{ prestart: [{ path: "/bin/true", env: ["A"] }] }, "hooks.prestart.0.env.0", "NAME=value"],
  [{ prestart: [{ path: "/bin/true", args: ["a\0"] }] }, "hooks.prestart.0.args.0", "NUL"],
  [{ prestart: [{ path: "/bin/true", argv: [] }] }, "hooks.prestart.0.argv", ""],
  [{ prestart: { path: "/bin/true" } }, "hooks.prestart", "a list"],
  [{ startContainer: [] }, "hooks.startContainer", ""],
];

s.test("a bad hook is refused with the name of its field before anything happens", async () => {
  await using at = await scene();
  const before = await without(at.world);
  for (const [hooks, path, wanted] of WRONG) {
    const error = await rejects(at.sandbox.createContainer(at.options(hooks as never)), "INVALID_INPUT");
    assert.is(error.data.path, path);
    assert.match(error.message, wanted);
  }
  assert.equal(await without(at.world), before);
});

/** Fails when one of the processes whose ids stand in the file still runs; a killed one gets a moment to be reaped. */
async function gone(file: string): Promise<void> {
  for (const pid of (await readFile(file, "utf8")).split(/\s+/).filter(Boolean)) {
    const identity = await identifyProcess(Number(pid));
    for (let look = 0; identity && (await isAlive(identity)); look++) {
      if (look > 500) throw new Error(`process ${pid} still runs`);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }
}

s.run();
