import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { createEngine, type Sandbox } from "tapvisor";
import * as assert from "uvu/assert";
import { failureOf, realEngine } from "../support/real-engine.ts";
import { suite } from "../support/suite.ts";
import { hostView, stateFiles } from "../support/whole-world.ts";

const s = suite("forks and snapshots on real QEMU");
const TIMEOUT = { timeoutMs: 180_000 };
const world = await realEngine();
const { engine, root, rootfs, directory } = world;
const empty = await hostView(root);
const at = (name: string) => join(directory, name);
const image = (name: string, from: string) => {
  execFileSync("mkfs.ext4", ["-q", "-d", from, at(name), "24M"], { stdio: "pipe" });
  return at(name);
};
const files = image("files.img", rootfs);
const data = image("data.img", rootfs);

/** Counts for each line that it is given, in a variable of the shell: in the guest's memory and nowhere else. */
const COUNT = "n=0; while read line; do n=$((n + 1)); echo $n; echo $n >> /data/counted; done";

async function counter(id: string): Promise<Sandbox> {
  const sandbox = await engine.runSandbox({ id });
  const container = await sandbox.run({
    id: "web",
    rootfs: { block: files, fstype: "ext4" },
    mounts: [{ block: data, target: "/data" }],
    command: ["sh", "-c", COUNT],
    resources: { vcpus: 2, memory: "256MiB" },
  });
  for (const number of [1, 2]) await countsTo(sandbox, number);
  assert.is(container.state, "running");
  return sandbox;
}

/** Has it count once more. What the saved one's reader had taken a moment before may come again first, in the copy: never anything else. */
async function countsTo(sandbox: Sandbox, number: number): Promise<void> {
  const { stdin, stdout } = sandbox.container("web");
  await new Promise<void>((resolve, reject) => void stdin.write("next\n", (error) => (error ? reject(error) : resolve())));
  let said = 0;
  for await (const chunk of stdout.iterator({ destroyOnReturn: false })) {
    for (const line of String(chunk).trim().split("\n")) {
      assert.ok(said === 0 ? Number(line) <= number : Number(line) === said + 1, `${line} after ${said}, on the way to ${number}`);
      said = Number(line);
    }
    if (said === number) return;
  }
  assert.unreachable(`it ended at ${said}`);
}

const ask = async (sandbox: Sandbox, script: string) => (await sandbox.container("web").exec(["sh", "-c", script])).stdout;

async function end(...sandboxes: Sandbox[]): Promise<void> {
  for (const sandbox of sandboxes) {
    await sandbox.stop({ timeoutMs: 200 });
    await sandbox.delete();
  }
}

const nothing = async () => {
  assert.equal(await hostView(root), empty);
  assert.equal(await stateFiles(root), []);
  assert.equal(await readdir(join(root, "disks")).catch(() => []), []);
};

s.test(
  "a counting process goes on in both from the same number, each with its own disk, random numbers and size",
  async () => {
    const sandbox = await counter("box");
    const started = performance.now();
    const copy = await sandbox.fork({ id: "copy" });
    console.log(`forked in ${(performance.now() - started).toFixed(0)} ms`);
    for (const [who, number] of [
      [copy, 3],
      [copy, 4],
      [sandbox, 3],
    ] as const)
      await countsTo(who, number);
    assert.is(await ask(sandbox, "tail -n 1 /data/counted"), "3\n");
    assert.is(await ask(copy, "tail -n 1 /data/counted"), "4\n");
    const random = "head -c 16 /dev/urandom | od -An -tx1";
    assert.is.not(await ask(sandbox, random), await ask(copy, random));
    const [mine, its] = [await sandbox.resources(), await copy.resources()];
    assert.equal([its.granted, its.requests], [mine.granted, mine.requests]);
    assert.is(its.confirmed?.vcpus, 3);
    const { origin } = await copy.status();
    assert.ok(origin?.from === "snapshot" && origin.of === "box" && (origin.clockErrorMs ?? 1000) < 100, JSON.stringify(origin));
    const seconds = Number(await ask(copy, "date +%s"));
    assert.ok(Math.abs(seconds - Date.now() / 1000) < 2, `its clock says ${seconds}`);

    // What was carried over can be given back, and more plugged in.
    await copy.container("web").stop({ timeoutMs: 200 });
    assert.is((await copy.resources()).requests.web, undefined);
    await copy.container("web").delete();
    assert.equal(copy.devices(), []);
    const shared = await copy.run({ rootfs, command: ["sh", "-c", "echo shared"], resources: { vcpus: 1, memory: "128MiB" } });
    assert.is(await shared.stdout.text(), "shared\n");
    await countsTo(sandbox, 4);
    await end(copy, sandbox);
    await nothing();
  },
  TIMEOUT,
);

s.test(
  "what was saved goes on twice, when the sandbox is gone, in an engine that knows nothing of it",
  async () => {
    const sandbox = await counter("box");
    const saved = at("saved");
    await sandbox.snapshot(saved);
    assert.is((await stat(saved)).mode & 0o777, 0o700);
    await countsTo(sandbox, 3);
    await end(sandbox);
    await nothing();

    await using later = await createEngine({ root, templates: false });
    const [one, two] = [await later.restore(saved, { id: "one" }), await later.restore(saved)];
    for (const [who, number] of [
      [one, 3],
      [one, 4],
      [two, 3],
    ] as const)
      await countsTo(who, number);
    assert.is(await ask(two, "tail -n 1 /data/counted"), "3\n");
    await one.container("web").stop({ timeoutMs: 200 });
    await one.container("web").start(); // on the copy of its disk
    await countsTo(one, 1);
    assert.is(await ask(one, "tail -n 2 /data/counted | tr '\\n' ' '"), "4 1 ");
    await end(one, two);
    await nothing();
    await rm(saved, { recursive: true });
  },
  TIMEOUT,
);

s.test(
  "a sandbox that shares a directory is refused before anything is touched, and goes on",
  async () => {
    const sandbox = await engine.runSandbox({ id: "box" });
    const container = await sandbox.run({ rootfs, command: ["sleep", "600"] });
    const before = await hostView(root);
    const errors = [await failureOf(sandbox.fork()), await failureOf(sandbox.snapshot(at("saved")))];
    for (const error of errors) assert.match(error.message, /shares directories of the host/);
    assert.equal(await hostView(root), before);
    assert.not.ok(existsSync(at("saved")));
    assert.is((await container.exec(["echo", "on"])).stdout, "on\n");
    await end(sandbox);
    await nothing();
  },
  TIMEOUT,
);

s.test("the end of the engine leaves nothing", async () => {
  await engine.close();
  await nothing();
  await world[Symbol.asyncDispose]();
});

s.run();
