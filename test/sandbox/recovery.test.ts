import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { createEngine, isTapvisorError } from "tapvisor";
import { presetFake } from "tapvisor/plugins/preset-fake";
import * as assert from "uvu/assert";
import { fakeEngine, laterProcess } from "../support/fake-engine.ts";
import { suite } from "../support/suite.ts";

const s = suite("recovery");

s.test("gc() gives back what a dead script left, and the id is free again", async () => {
  await using world = await fakeEngine();
  const empty = await world.everything();
  const sandbox = await world.engine.runSandbox({ id: "box" });
  await sandbox.run({ id: "web", rootfs: world.rootfs, command: ["sleep", "60"] });
  world.killScript();
  await using later = await laterProcess(world);
  assert.equal(await later.gc(), { collected: ["box"], kept: [], failed: [], corrupt: [] });
  assert.equal(await world.everything(), empty);
  await later.createSandbox({ id: "box" });
});

s.test("gc() finds a VM by its intent alone when the script died inside the launch", async () => {
  await using world = await fakeEngine();
  const empty = await world.everything();
  world.world.failNext("hypervisor.vm.acquire", { when: "after", hang: true });
  const caller = new AbortController();
  const creating = world.engine.createSandbox({ id: "box" }, { signal: caller.signal }).catch(() => {});
  await until(() => world.world.vm("box") !== undefined);
  const crashed = world.state.get("box");
  caller.abort();
  await creating;
  assert.equal(await world.everything(), empty);

  // The crash itself: the record as it was on disk at that instant, and the VM as it then ran.
  const intent = (crashed as { holdings: { kind: string; intent: never }[] }).holdings.find(({ kind }) => kind === "vm")?.intent;
  assert.ok(intent);
  world.world.startVm(intent);
  world.state.set("box", crashed as never);
  await using later = await laterProcess(world);
  assert.equal((await later.gc()).collected, ["box"]);
  assert.equal(await world.everything(), empty);
});

s.test("gc() keeps what a live process has, and a detached sandbox whose VM runs", async () => {
  await using world = await fakeEngine();
  await world.engine.runSandbox({ id: "mine" });
  const other = await createEngine({ preset: presetFake({ world: world.world, state: world.state }), root: join(world.directory, "root") });
  await using _closing = other;
  assert.equal(await world.engine.gc(), { collected: [], kept: ["mine"], failed: [], corrupt: [] });
});

s.test("gc() names a record that cannot be read, and goes on with the others", async () => {
  await using world = await fakeEngine();
  world.state.set("bad", { version: 99, id: "bad" });
  await world.engine.runSandbox({ id: "box" });
  world.killScript();
  await using later = await laterProcess(world);
  const report = await later.gc();
  assert.equal(report.collected, ["box"]);
  assert.equal(
    report.corrupt.map(({ id }) => id),
    ["bad"],
  );
  assert.equal(
    (await later.list()).map(({ id, state }) => [id, state]),
    [["bad", "corrupt"]],
  );
});

s.test("a detached sandbox is let go, and another engine attaches to it with its containers still running", async () => {
  await using world = await fakeEngine();
  const sandbox = await world.engine.runSandbox({ id: "box", detached: true });
  const container = await sandbox.run({ id: "web", rootfs: world.rootfs, command: ["cat"] });
  assert.is(container.state, "running");
  await world.engine.close();
  assert.is(world.world.snapshot().vms.length, 1);

  const preset = presetFake({ world: world.world, state: world.state });
  await using later = await createEngine({ preset, root: join(world.directory, "root") });
  const adopted = await later.sandbox("box");
  const web = adopted.container("web");
  web.stdin.end("still here\n");
  assert.is(await web.stdout.text(), "still here\n");
  assert.equal(await web.wait(), { exitCode: 0 });
  await adopted.stop();
  await adopted.delete();
  assert.equal(world.world.snapshot().vms, []);
});

s.test("attaching to a sandbox whose VM has died gives back what it held and leaves it stopped", async () => {
  await using world = await fakeEngine();
  await world.engine.runSandbox({ id: "box", detached: true });
  await world.engine.close();
  world.world.killVm("box");
  await using later = await laterProcess(world);
  const sandbox = await later.sandbox("box");
  assert.is(sandbox.state, "stopped");
  assert.equal(world.world.snapshot().vms, []);
  await sandbox.delete();
});

s.test("an attachment that fails lets the sandbox go again", async () => {
  await using world = await fakeEngine();
  await world.engine.runSandbox({ id: "box", detached: true });
  await world.engine.close();
  await using later = await laterProcess(world);
  world.world.failNext("agent.connect", { when: "before" });
  const error = await later.sandbox("box").catch((thrown: unknown) => thrown);
  assert.ok(isTapvisorError(error));
  assert.is((world.state.get("box") as { owner: unknown }).owner, null);
  assert.is(world.world.snapshot().vms[0]?.views, 0);
  const sandbox = await later.sandbox("box");
  await sandbox.stop({ force: true });
  await sandbox.delete();
});

s.test("attaching names an id that is not there, and one that another live process has", async () => {
  await using world = await fakeEngine();
  await mkdir(join(world.directory, "root"), { recursive: true });
  const none = await world.engine.sandbox("nope").catch((error: unknown) => error);
  assert.ok(isTapvisorError(none) && none.code === "NOT_FOUND");
  await world.engine.runSandbox({ id: "box", detached: true });
  await world.engine.close();
  const record = world.state.get("box") as object;
  world.state.set("box", { ...record, owner: await identityOf(process.ppid) } as never);
  await using later = await createEngine({
    preset: presetFake({ world: world.world, state: world.state }),
    root: join(world.directory, "root"),
  });
  const held = await later.sandbox("box").catch((error: unknown) => error);
  assert.ok(isTapvisorError(held) && held.code === "LOCKED", String(held));
});

async function identityOf(pid: number) {
  const { identifyProcess } = await import("tapvisor/plugin");
  return identifyProcess(pid);
}

async function until(happened: () => boolean): Promise<void> {
  while (!happened()) await new Promise((resolve) => setImmediate(resolve));
}

s.run();
