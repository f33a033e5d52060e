import { appendFile, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Sandbox, TapvisorError } from "tapvisor";
import { definePlugin } from "tapvisor/plugin";
import * as assert from "uvu/assert";
import { type FakeEngine, type FakeEngineOptions, fakeEngine, laterProcess } from "../support/fake-engine.ts";
import { rejects } from "../support/rejects.ts";
import { suite } from "../support/suite.ts";

const s = suite("forks and snapshots");

/** Says the next number for each line that it is given; the number is in the saved memory. */
function counting(fake: FakeEngine): void {
  fake.world.programs.counter = async ({ memory, stdin, write }) => {
    for await (const _ of stdin) {
      memory.count = Number(memory.count ?? 0) + 1;
      await write(`${memory.count}\n`);
    }
    return 0;
  };
}

/** A sandbox with a container that counts, on a disk of its own, and that writes to another. */
async function counter(options: FakeEngineOptions = {}) {
  const fake = await fakeEngine(options);
  counting(fake);
  const sandbox = await fake.engine.runSandbox({ id: "box" });
  await sandbox.run({
    id: "web",
    command: ["counter"],
    rootfs: { block: fake.image, fstype: "ext4" },
    mounts: [{ block: fake.otherImage, target: "/data" }],
    resources: { vcpus: 2, memory: "256MiB" },
  });
  return { fake, sandbox, [Symbol.asyncDispose]: () => fake[Symbol.asyncDispose]() };
}

async function count(sandbox: Sandbox): Promise<string> {
  const { stdin, stdout } = sandbox.container("web");
  await new Promise<void>((resolve, reject) => void stdin.write("next\n", (error) => (error ? reject(error) : resolve())));
  for await (const chunk of stdout.iterator({ destroyOnReturn: false })) return String(chunk).trim();
  return "ended";
}

s.test("a fork goes on from the same number, and each of the two by itself", async () => {
  await using world = await counter();
  const { sandbox, fake } = world;
  assert.equal([await count(sandbox), await count(sandbox)], ["1", "2"]);
  const copy = await sandbox.fork({ id: "copy" });
  assert.equal([await count(copy), await count(copy), await count(copy)], ["3", "4", "5"]);
  assert.is(await count(sandbox), "3");
  assert.equal([sandbox.state, copy.state, copy.container("web").state], ["running", "running", "running"]);
  assert.equal((await copy.status()).origin, { from: "snapshot", of: "box", clockErrorMs: 1 });
  await copy.stop();
  await copy.delete();
  assert.is(await count(sandbox), "4");
  assert.equal((await fake.everything()).saved, []);
});

s.test("a fork has an identity of its own, and its processes stand still until it has", async () => {
  await using world = await counter();
  const { sandbox, fake } = world;
  await sandbox.fork({ id: "copy" });
  const [given] = fake.world.vm("copy")?.guest.identity.given ?? [];
  assert.is(given?.hostname, "box");
  const about = fake.world.calls.filter(({ sandbox: of }) => of === "copy").map(({ operation }) => operation as string);
  const order = ["agent.renew", "agent.resumeContainer"].map((operation) => about.indexOf(operation));
  assert.ok(order.every((at) => at >= 0) && (order[0] ?? 0) < (order[1] ?? 0), about.join());
});

s.test("a fork has the same size, ledger and devices, and can give them back", async () => {
  await using world = await counter();
  const { sandbox } = world;
  const copy = await sandbox.fork();
  const [mine, its] = [await sandbox.resources(), await copy.resources()];
  assert.equal(its.granted, mine.granted);
  assert.equal(its.requests, mine.requests);
  assert.equal(
    copy.devices().map(({ id, node }) => [id, node]),
    sandbox.devices().map(({ id, node }) => [id, node]),
  );
  await copy.container("web").stop({ force: true });
  await copy.container("web").delete();
  assert.equal(copy.devices(), []);
  assert.is((await copy.resources()).granted.vcpus, 1);
  assert.equal((await sandbox.resources()).granted, mine.granted);
});

s.test(
  "disks that are written to are copied for the fork, those that nobody writes to and are the user's are used where they are",
  async () => {
    await using world = await counter();
    const { sandbox, fake } = world;
    const copy = await sandbox.fork({ id: "copy" });
    const paths = Object.fromEntries(copy.devices().map(({ path, readonly }) => [String(readonly), path]));
    assert.is(paths.true, fake.image);
    const disks = join(fake.directory, "root", "disks", "copy");
    assert.ok(paths.false?.startsWith(`${disks}/`), paths.false);
    await writeFile(fake.otherImage, "changed by the first", { flag: "r+" });
    assert.not.match(await readFile(paths.false ?? "", "latin1"), /changed/);
    const container = copy.container("web");
    await container.stop({ force: true });
    await container.start(); // from its copy, which lasts
    await copy.stop();
    assert.equal(await readdir(disks), [paths.false?.slice(disks.length + 1)]);
    await copy.delete();
    assert.is(await stat(disks).catch(({ code }) => code), "ENOENT");
  },
);

s.test("a fork of a fork goes on, too, also when the first is gone", async () => {
  await using world = await counter();
  const { sandbox } = world;
  await count(sandbox);
  const copy = await sandbox.fork();
  const again = await copy.fork();
  await sandbox.stop({ force: true });
  await sandbox.delete();
  await copy.stop({ force: true });
  await copy.delete();
  assert.is(await count(again), "2");
});

s.test("a sandbox without containers can be forked, and one that is only created is ready", async () => {
  await using fake = await fakeEngine();
  const sandbox = await fake.engine.createSandbox({ id: "box" });
  const copy = await sandbox.fork();
  assert.is(copy.state, "ready");
  await copy.start();
  assert.is((await (await copy.run({ rootfs: fake.rootfs, command: ["true"] })).wait()).exitCode, 0);
});

s.test("a paused container stays paused in the fork, and a stopped one stopped with its exit code", async () => {
  await using world = await counter();
  const { sandbox, fake } = world;
  await sandbox.container("web").pause();
  fake.world.programs.once = () => 3;
  const ended = await sandbox.run({ id: "ended", rootfs: { block: fake.image, fstype: "ext4" }, command: ["once"] });
  await ended.wait();
  const copy = await sandbox.fork();
  assert.equal([copy.container("web").state, copy.container("ended").state], ["paused", "stopped"]);
  assert.is((await copy.container("ended").status()).exitCode, 3);
  await copy.container("web").resume();
  assert.is(await count(copy), "1");
});

type World = Awaited<ReturnType<typeof counter>>;
const HOOK = { path: "/bin/true" };
const REFUSED: readonly [string, (world: World) => Promise<unknown>, RegExp][] = [
  [
    "a directory of the host",
    ({ fake, sandbox }) => sandbox.run({ id: "more", rootfs: fake.rootfs, command: ["sleep", "9"] }),
    /container "more" shares directories of the host/,
  ],
  [
    "OCI hooks",
    ({ fake, sandbox }) =>
      sandbox.run({ id: "more", rootfs: { block: fake.image, fstype: "ext4" }, command: ["sleep", "9"], hooks: { poststop: [HOOK] } }),
    /container "more" has OCI hooks/,
  ],
];
for (const [what, prepare, said] of REFUSED) {
  s.test(`a sandbox with ${what} is refused before anything is touched`, async () => {
    await using world = await counter();
    const { sandbox, fake } = world;
    await prepare(world);
    const before = await fake.everything();
    const calls = fake.world.calls.length;
    const saved = join(fake.directory, "saved");
    for (const error of [await rejects(sandbox.fork(), "UNSUPPORTED"), await rejects(sandbox.snapshot(saved), "UNSUPPORTED")])
      assert.match(error.message, said);
    assert.equal(await fake.everything(), before);
    assert.is(fake.world.calls.length, calls);
  });
}

s.test("a hypervisor that cannot save a VM whole refuses, and so does a sandbox that does not run", async () => {
  await using fake = await fakeEngine({ preset: { hypervisor: { snapshots: false } } });
  const sandbox = await fake.engine.createSandbox();
  await rejects(sandbox.fork(), "UNSUPPORTED");
  await sandbox.stop();
  await rejects(sandbox.fork(), "INVALID_STATE");
  await rejects(sandbox.snapshot(join(fake.directory, "saved")), "INVALID_STATE");
});

s.test("a fork that fails leaves nothing, and the sandbox goes on", async () => {
  await using world = await counter();
  const { sandbox, fake } = world;
  const before = await fake.everything();
  fake.world.failNext("agent.renew", { when: "after" });
  await rejects(sandbox.fork({ id: "copy" }), "AGENT_FAILED");
  assert.equal(await fake.everything(), before);
  assert.is(await count(sandbox), "1");
});

s.test("a process that ends while it is made to stand still is no reason to fail: its end is told", async () => {
  await using world = await counter();
  const { sandbox, fake } = world;
  const ended = new TapvisorError("AGENT_FAILED", "Cannot finish PauseContainer: it has ended", {
    data: { method: "PauseContainer", status: "FAILED_PRECONDITION" },
  });
  fake.world.failNext("agent.pauseContainer", { when: "before", error: ended });
  const copy = await sandbox.fork({ id: "copy" });
  assert.equal([copy.state, await count(copy), await count(sandbox)], ["running", "1", "1"]);
});

s.test("an id that is taken or is none is refused before the sandbox is touched", async () => {
  await using world = await counter();
  const { sandbox, fake } = world;
  const calls = fake.world.calls.length;
  await rejects(sandbox.fork({ id: "box" }), "ALREADY_EXISTS");
  await rejects(sandbox.fork({ id: "../x" }), "INVALID_INPUT");
  assert.is(fake.world.calls.length, calls);
});

s.test("a plugin hears of a fork as of any sandbox, and may veto it", async () => {
  const heard: string[] = [];
  const listen = definePlugin("listen", (ctx) => {
    ctx.hooks.beforeCreate.tapPromise(async (event) => {
      heard.push(`before ${event.sandbox}`);
      if (event.sandbox === "no") throw new Error("not that one");
      return event;
    });
    ctx.hooks.afterCreate.tapPromise(async ({ sandbox }) => void heard.push(`after ${sandbox}`));
  });
  await using world = await counter({ plugins: [listen()] });
  heard.length = 0;
  await world.sandbox.fork({ id: "copy" });
  await rejects(world.sandbox.fork({ id: "no" }), "HOOK_FAILED");
  assert.equal(heard, ["before copy", "after copy", "before no"]);
});

s.test("what was saved goes on any number of times, in a later process too, when the sandbox has long gone", async () => {
  await using world = await counter();
  const { sandbox, fake } = world;
  const saved = join(fake.directory, "saved");
  assert.equal([await count(sandbox), await count(sandbox)], ["1", "2"]);
  await sandbox.snapshot(saved);
  assert.is((await stat(saved)).mode & 0o777, 0o700);
  assert.is(await count(sandbox), "3");
  const one = await fake.engine.restore(saved, { id: "one" });
  assert.is(await count(one), "3");
  await fake.engine.close();
  assert.equal((await fake.everything()).records, []);

  await using later = await laterProcess(fake);
  const [two, three] = [await later.restore(saved), await later.restore(saved)];
  assert.equal([await count(two), await count(two), await count(three)], ["3", "4", "3"]);
  const written = [two, three].map((each) => each.devices().find(({ readonly }) => !readonly)?.path);
  assert.is.not(written[0], written[1]);
});

s.test("a snapshot is never written over, and one that fails leaves no directory", async () => {
  await using world = await counter();
  const { sandbox, fake } = world;
  const saved = join(fake.directory, "saved");
  fake.world.failNext("hypervisor.snapshot", { when: "after" });
  await rejects(sandbox.snapshot(saved), "VM_COMMAND_FAILED");
  assert.is(await stat(saved).catch(({ code }) => code), "ENOENT");
  await sandbox.snapshot(saved);
  const error = await rejects(sandbox.snapshot(saved), "STATE_IO");
  assert.is((error.data as { errno: string }).errno, "EEXIST");
  assert.is(await count(await fake.engine.restore(saved)), "1");
});

s.test("restoring refuses a directory that holds none, a file that is another one, and another hypervisor, by name", async () => {
  await using world = await counter();
  const { sandbox, fake } = world;
  const saved = join(fake.directory, "saved");
  await rejects(fake.engine.restore(saved), "NOT_FOUND");
  await sandbox.snapshot(saved);
  const before = fake.world.fingerprint;
  fake.world.fingerprint = "another QEMU";
  const differs = await rejects(fake.engine.restore(saved), "SNAPSHOT_UNUSABLE");
  assert.match(differs.message, /the hypervisor is another one/);
  fake.world.fingerprint = before;
  const disk = join(saved, "disks", (await readdir(join(saved, "disks")))[0] ?? "");
  for (const file of [fake.image, disk, join(saved, "vm.state")]) {
    const content = await readFile(file);
    await appendFile(file, "x");
    assert.match((await rejects(fake.engine.restore(saved), "SNAPSHOT_UNUSABLE")).message, new RegExp(`${file}: it has`));
    await writeFile(
      file,
      content.map((byte, index) => (index === 0 ? byte ^ 1 : byte)),
    );
    assert.match((await rejects(fake.engine.restore(saved), "SNAPSHOT_UNUSABLE")).message, new RegExp(`${file}: its content`));
    await writeFile(file, content);
  }
  await writeFile(join(saved, "snapshot.json"), "{}");
  await rejects(fake.engine.restore(saved), "SNAPSHOT_UNUSABLE");
  assert.equal(
    (await fake.engine.list()).map(({ id }) => id),
    ["box"],
  );
});

s.run();
