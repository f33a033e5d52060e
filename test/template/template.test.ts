import { appendFile, chmod, mkdir, readdir, truncate, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createEngine, type Engine, type Sandbox } from "tapvisor";
import { presetFake } from "tapvisor/plugins/preset-fake";
import * as assert from "uvu/assert";
import { type FakeEngine, fakeEngine } from "../support/fake-engine.ts";
import { rejects } from "../support/rejects.ts";
import { suite } from "../support/suite.ts";

const s = suite("templates");

const originOf = async (sandbox: Sandbox) => (await sandbox.status()).origin;
const builds = ({ world }: FakeEngine) =>
  world.calls.filter(({ operation, outcome }) => operation === "hypervisor.save" && outcome === "done").length;
const directoryOf = (fake: FakeEngine) => join(fake.directory, "root", "templates");
const filesOf = async (fake: FakeEngine, name: string) =>
  (await fake.engine.templates()).map(({ key }) => join(directoryOf(fake), key, name))[0] ?? "";

s.test("the first sandbox has its template built, the next of the same configuration go on from it", async () => {
  await using fake = await fakeEngine({ templates: true });
  const one = await fake.engine.createSandbox({ id: "one" });
  const two = await fake.engine.createSandbox({ id: "two", hostname: "other", annotations: { a: "b" }, detached: true });
  assert.is(builds(fake), 1);
  const [template] = await fake.engine.templates();
  assert.equal([template?.state, template?.group, template?.users], ["ready", "default", 2]);
  for (const sandbox of [one, two]) {
    const origin = await originOf(sandbox);
    assert.equal(origin, { from: "template", template: template?.key, memory: "own", clockErrorMs: 1 });
  }
  assert.is(fake.world.vm("one")?.intent.memory?.kind, "copy");
  assert.equal((await fake.engine.inspect("one")).origin, await originOf(one));
  await two.stop();
  await two.delete();
  await one.delete();
  assert.is((await fake.engine.templates())[0]?.users, 0);
});

s.test("the template has been warmed up, prepared and left by its agent before it is saved", async () => {
  await using fake = await fakeEngine({ templates: true });
  await fake.engine.buildTemplate();
  const wanted = ["agent.connect", "agent.warmUp", "agent.connect", "agent.prepareToBeSaved", "hypervisor.save", "hypervisor.vm.release"];
  const calls = fake.world.calls.map(({ operation }) => operation as string).filter((operation) => wanted.includes(operation));
  assert.equal(calls, wanted);
  assert.equal(await fake.engine.list(), []);
});

s.test("each sandbox that goes on from a template gets an identity of its own before it is ready", async () => {
  await using fake = await fakeEngine({ templates: true });
  const given = [];
  for (const id of ["one", "two", "three"]) {
    await fake.engine.createSandbox({ id });
    given.push(...(fake.world.vm(id)?.guest.identity.given ?? []));
  }
  assert.equal(
    given.map(({ hostname }) => hostname),
    ["one", "two", "three"],
  );
  assert.is(new Set(given.map(({ machineId }) => machineId)).size, 3);
  assert.is(new Set(given.map(({ entropy }) => Buffer.from(entropy).toString("hex"))).size, 3);
});

s.test("what a template depends on is part of its key: another size, limit, group or hypervisor has another one", async () => {
  await using fake = await fakeEngine({ templates: true });
  const keys = new Set<string>();
  const build = async (options: Parameters<Engine["buildTemplate"]>[0]) => keys.add((await fake.engine.buildTemplate(options)).key);
  await build({});
  await build({ memory: "256MiB" });
  await build({ vcpus: 2 });
  await build({ maxVcpus: 3 });
  await build({ maxMemory: "1GiB" });
  await build({ sizing: "static" });
  await build({ template: "tenant-a" });
  fake.world.fingerprint = "another QEMU";
  await build({});
  assert.is(keys.size, 8);
});

s.test("with shares: false a sandbox shares its template's pages, and no directory of the host can be shared with it", async () => {
  await using fake = await fakeEngine({ templates: true });
  const sandbox = await fake.engine.runSandbox({ id: "one", shares: false });
  assert.is(fake.world.vm("one")?.intent.memory?.kind, "clone");
  const error = await rejects(sandbox.run({ rootfs: fake.rootfs, command: ["true"] }), "INVALID_INPUT");
  assert.is((error.data as { path: string }).path, "sandbox.shares");
  assert.match(error.hint ?? "", /block/);
  const origin = await originOf(sandbox);
  assert.is(origin?.from === "template" && origin.memory, "shared");
});

const WHY: readonly [string, Parameters<typeof fakeEngine>[0], RegExp][] = [
  ["templates are switched off", { templates: false }, /switched off/],
  ["the hypervisor cannot save a VM", { templates: true, preset: { hypervisor: { templates: false } } }, /hypervisor fake cannot save/],
  ["the guest cannot take on a new identity", { templates: true, preset: { hypervisor: { cloneable: false } } }, /guest none cannot/],
];
for (const [why, options, said] of WHY) {
  s.test(`where ${why} a sandbox boots and says why, and one that insists is refused before anything has happened`, async () => {
    await using fake = await fakeEngine(options);
    const sandbox = await fake.engine.createSandbox({ id: "one" });
    const origin = await originOf(sandbox);
    assert.is(origin?.from, "boot");
    assert.match(origin?.from === "boot" ? origin.why : "", said);
    for (const template of [true, "tenant-a"]) {
      const error = await rejects(fake.engine.createSandbox({ id: "two", template }), "UNSUPPORTED");
      assert.match(error.message, said);
    }
    assert.is(fake.world.vm("two"), undefined);
    await rejects(fake.engine.buildTemplate(), "UNSUPPORTED");
  });
}

s.test("a sandbox with template: false boots", async () => {
  await using fake = await fakeEngine({ templates: true });
  const sandbox = await fake.engine.createSandbox({ template: false });
  assert.equal(await originOf(sandbox), { from: "boot", why: "sandbox.template is false" });
  assert.is(builds(fake), 0);
});

const DAMAGES: readonly [string, string, (file: string) => Promise<void>][] = [
  ["memory that has been cut short", "memory", (file) => truncate(file, 4096)],
  [
    "memory that has been written to, its time put back",
    "memory",
    async (file) => {
      await chmod(file, 0o600);
      await writeFile(file, "x", { flag: "r+" });
      await utimes(file, 1, 1);
    },
  ],
  [
    "a state with a byte more",
    "state",
    async (file) => {
      await chmod(file, 0o600);
      await appendFile(file, "x");
    },
  ],
  ["a manifest that is none", "manifest.json", (file) => chmod(file, 0o600).then(() => writeFile(file, "{}"))],
];
for (const [what, name, damage] of DAMAGES) {
  s.test(`${what} is refused by name; a sandbox that need not have it boots, and after its removal it is built anew`, async () => {
    await using fake = await fakeEngine({ templates: true });
    const { key } = await fake.engine.buildTemplate();
    const file = await filesOf(fake, name);
    await damage(file);
    const error = await rejects(fake.engine.createSandbox({ id: "one", template: true }), "TEMPLATE_DAMAGED");
    assert.equal([(error.data as { file: string }).file, (error.data as { template: string }).template], [file, key]);
    assert.match(error.hint ?? "", new RegExp(`template rm ${key.slice(0, 12)}`));
    assert.is(fake.world.vm("one"), undefined);

    const [listed] = await fake.engine.templates();
    assert.equal([listed?.state, listed?.users], ["damaged", 0]);
    assert.match(listed?.reason ?? "", new RegExp(file));

    const origin = await originOf(await fake.engine.createSandbox({ id: "two" }));
    assert.match(origin?.from === "boot" ? origin.why : "", new RegExp(file));
    assert.equal(await fake.engine.removeTemplates(key.slice(0, 12)), [key]);
    assert.is((await originOf(await fake.engine.createSandbox({ id: "three" })))?.from, "template");
    assert.is(builds(fake), 2);
  });
}

s.test("a template that cannot be gone on from is no reason to fail for a sandbox that need not have it", async () => {
  await using fake = await fakeEngine({ templates: true });
  await fake.engine.buildTemplate();
  fake.world.failNext("hypervisor.vm.acquire", { when: "after" });
  const sandbox = await fake.engine.createSandbox({ id: "one" });
  assert.is((await originOf(sandbox))?.from, "boot");
  assert.is((await fake.engine.templates())[0]?.users, 0);
});

s.test("sandboxes that are created at once have one template built for all of them", async () => {
  await using fake = await fakeEngine({ templates: true });
  const sandboxes = await Promise.all(["a", "b", "c", "d"].map((id) => fake.engine.createSandbox({ id, template: true })));
  assert.is(builds(fake), 1);
  for (const sandbox of sandboxes) assert.is((await originOf(sandbox))?.from, "template");
});

s.test("one that is removed or pruned while sandboxes go on from it does them no harm", async () => {
  await using fake = await fakeEngine({ templates: true });
  const sandbox = await fake.engine.runSandbox({ id: "one" });
  const { key } = await fake.engine.buildTemplate();
  assert.equal(await fake.engine.removeTemplates(), [key]);
  assert.equal(await fake.engine.templates(), []);
  const container = await sandbox.run({ rootfs: fake.rootfs, command: ["true"] });
  assert.is((await container.wait()).exitCode, 0);
  await sandbox.stop();
  await sandbox.start();
  assert.is((await originOf(sandbox))?.from, "template");
  assert.is(builds(fake), 2);
});

s.test("of the templates that nobody uses the newest few are kept when one is built", async () => {
  await using fake = await fakeEngine();
  const templates = { directory: directoryOf(fake), keep: 2 };
  const preset = presetFake({ world: fake.world, hypervisor: { cloneable: true } });
  await using engine = await createEngine({ preset, root: join(fake.directory, "root"), templates });
  await engine.createSandbox({ memory: "128MiB" });
  const built: string[] = [];
  for (const memory of ["256MiB", "384MiB", "512MiB"]) built.push((await engine.buildTemplate({ memory })).key);
  const there = (await engine.templates()).map(({ key }) => key);
  assert.is(there.length, 3);
  assert.not.ok(there.includes(built[0] ?? ""));
  assert.is(
    (await engine.templates()).reduce((sum, { users }) => sum + users, 0),
    1,
  );
});

s.test("removing wants the beginning of one key: none is NOT_FOUND, that of several INVALID_INPUT", async () => {
  await using fake = await fakeEngine({ templates: true });
  await rejects(fake.engine.removeTemplates("abc"), "NOT_FOUND");
  await rejects(fake.engine.removeTemplates(""), "NOT_FOUND");
  const one = join(directoryOf(fake), "a".repeat(64));
  await mkdir(one, { recursive: true, mode: 0o700 });
  await mkdir(join(directoryOf(fake), `a${"b".repeat(63)}`));
  await rejects(fake.engine.removeTemplates("a"), "INVALID_INPUT");
  assert.is((await readdir(directoryOf(fake))).length, 2);
});

s.test("a directory for templates that others can write to is refused", async () => {
  await using fake = await fakeEngine({ templates: true });
  await mkdir(directoryOf(fake), { recursive: true });
  await chmod(directoryOf(fake), 0o777);
  const error = await rejects(fake.engine.createSandbox({ template: true }), "INVALID_INPUT");
  assert.is((error.data as { path: string }).path, "templates.directory");
  await chmod(directoryOf(fake), 0o700);
  await fake.engine.buildTemplate();
  await chmod(directoryOf(fake), 0o777); // one that is there could be anybody's
  await rejects(fake.engine.createSandbox({ template: true }), "INVALID_INPUT");
});

s.test("building can be given up, and leaves nothing", async () => {
  await using fake = await fakeEngine({ templates: true });
  const control = new AbortController();
  fake.world.failNext("agent.warmUp", { when: "before", hang: true });
  const building = fake.engine.buildTemplate({}, { signal: control.signal });
  while (!fake.world.calls.some(({ operation }) => operation === "agent.warmUp")) await new Promise((resolve) => setImmediate(resolve));
  control.abort();
  await rejects(building, "ABORTED");
  const { saved, files, records, world } = await fake.everything();
  assert.equal([saved, files, records, world.vms], [[], [], [], []]);
});

s.test("gc leaves a template alone that is being built, and closing the engine ends that and leaves nothing", async () => {
  await using fake = await fakeEngine({ templates: true });
  fake.world.failNext("agent.warmUp", { when: "before", hang: true });
  const building = fake.engine.buildTemplate().catch(() => {});
  while (!fake.world.calls.some(({ operation }) => operation === "agent.warmUp")) await new Promise((resolve) => setImmediate(resolve));
  assert.equal((await fake.engine.gc()).collected, []);
  await fake.engine.close();
  await building;
  assert.equal((await fake.everything()).saved, []);
});

s.test("templates that are none of an engine's options, and a group that is no name, are refused by their field", async () => {
  await rejects(createEngine({ preset: "fake", templates: 5 as never }), "INVALID_INPUT");
  await rejects(createEngine({ preset: "fake", templates: { keep: -1 } }), "INVALID_INPUT");
  await rejects(createEngine({ preset: "fake", config: { templates: { directory: "" } } }), "INVALID_INPUT");
  await using engine = await createEngine({ preset: "fake", templates: true });
  await rejects(engine.createSandbox({ template: "../x" }), "INVALID_INPUT");
  await rejects(engine.createSandbox({ template: 3 as never }), "INVALID_INPUT");
});

s.run();
