import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmod, mkdir, readdir, readFile, rename, rm, stat, truncate } from "node:fs/promises";
import { join } from "node:path";
import type { Engine, Sandbox } from "tapvisor";
import { createEngine } from "tapvisor";
import * as assert from "uvu/assert";
import { failureOf, realEngine } from "../support/real-engine.ts";
import { startScript } from "../support/script.ts";
import { suite } from "../support/suite.ts";
import { hostView, stateFiles } from "../support/whole-world.ts";

/** Two at once: as many as the machine of the tests has processors. */
const AT_ONCE = 2;
const CLONES = 200;
const LIVE = 50;

const s = suite("sandboxes from a template on real QEMU");
const world = await realEngine();
const { root, rootfs, directory } = world;
const templates = join(directory, "templates");
const engine = await createEngine({ root, templates: { directory: templates } });
const empty = await hostView(root);
const image = join(directory, "rootfs.img");
execFileSync("mkfs.ext4", ["-q", "-d", rootfs, image, "16M"], { stdio: "pipe" });

const LEAN = { template: true, shares: false } as const;
const onDisk = { rootfs: { block: image, fstype: "ext4" } } as const;
const nothing = async () => {
  assert.equal(await hostView(root), empty);
  assert.equal(await stateFiles(root), []);
};

async function kill(sandbox: Sandbox): Promise<void> {
  await sandbox.stop({ force: true });
  await sandbox.delete();
}

async function output(sandbox: Sandbox, script: string): Promise<string> {
  const container = await sandbox.run({ ...onDisk, command: ["sh", "-c", script] });
  const [stdout, { exitCode }] = await Promise.all([container.stdout.text(), container.wait()]);
  assert.is(exitCode, 0);
  return stdout;
}

async function inLanes<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const queue = [...items];
  const lane = async () => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(item);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
}

const names = (count: number) => Array.from({ length: count }, (_, number) => `c${number}`);

/** What a clone says of itself: random bytes, the boot's id, its host name, its clock in seconds. */
const WHO = "head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \\n'; echo; cat /proc/sys/kernel/random/boot_id; hostname; date +%s";

s.test(
  "processes that want the same template at once have it built once",
  async () => {
    const body = `
      import { createEngine } from "tapvisor";
      await using engine = await createEngine({ root: ${JSON.stringify(root)}, templates: { directory: ${JSON.stringify(templates)} } });
      const { key, created } = await engine.buildTemplate();
      console.log("built " + key + " " + created);`;
    const scripts = await Promise.all(["one", "two"].map((name) => startScript(directory, name, body)));
    const built = await Promise.all(scripts.map(({ line }) => line("built ")));
    for (const { ended } of scripts) assert.is((await ended).code, 0);
    assert.is(built[0], built[1]);
    assert.is((await engine.templates()).length, 1);
    await nothing();
  },
  { timeoutMs: 180_000 },
);

s.test(
  `${CLONES} sandboxes in a row go on from it, run a container and are gone: each with random numbers, a boot and a clock of its own`,
  async () => {
    const seen: string[][] = [];
    const clocks: number[] = [];
    await inLanes(names(CLONES), async (id) => {
      const sandbox = await engine.runSandbox({ id, ...LEAN });
      const { origin } = await sandbox.status();
      assert.is(origin?.from, "template");
      if (origin?.from === "template") clocks.push(origin.clockErrorMs ?? Number.POSITIVE_INFINITY);
      const before = Math.floor(Date.now() / 1000);
      const [random = "", boot = "", hostname, seconds] = (await output(sandbox, WHO)).split("\n");
      assert.is(hostname, id);
      assert.ok(Number(seconds) >= before && Number(seconds) <= Date.now() / 1000, `its clock says ${seconds} at ${before}`);
      seen.push([random, boot]);
      await kill(sandbox);
    });
    for (const which of [0, 1]) assert.is(new Set(seen.map((each) => each[which])).size, CLONES);
    const sorted = clocks.toSorted((a, b) => a - b);
    console.log(`clock: at most ${sorted.at(-1)?.toFixed(0)} ms from the host's, median ${sorted[CLONES / 2]?.toFixed(0)}`);
    assert.ok((sorted.at(-1) ?? 0) < 100, `a clock is ${sorted.at(-1)} ms off`);
    assert.is((await engine.templates())[0]?.users, 0);
    await nothing();
  },
  { timeoutMs: 560_000 },
);

async function memoryOf(sandbox: Sandbox): Promise<number> {
  const { pid } = await sandbox.status();
  const text = await readFile(`/proc/${pid}/smaps_rollup`, "utf8");
  return Number(/^Pss:\s+(\d+) kB/m.exec(text)?.[1]) / 1024;
}

s.test(
  `${LIVE} at once live, answer, and share what they have not written`,
  async () => {
    const sandboxes: Sandbox[] = [];
    await inLanes(names(LIVE), async (id) => void sandboxes.push(await engine.runSandbox({ id, ...LEAN })));
    const memory = await Promise.all(sandboxes.map(memoryOf));
    const mean = memory.reduce((sum, each) => sum + each, 0) / LIVE;
    console.log(`PSS of ${LIVE} idle ones: ${mean.toFixed(0)} MiB each`);
    assert.is((await engine.templates())[0]?.users, LIVE);
    const said = new Set<string>();
    await inLanes(sandboxes, async (sandbox) => void said.add(await output(sandbox, "cat /proc/sys/kernel/random/boot_id")));
    assert.is(said.size, LIVE);
    await inLanes(sandboxes, kill);
    await nothing();
  },
  { timeoutMs: 400_000 },
);

const sumOf = async (file: string) =>
  createHash("sha256")
    .update(await readFile(file))
    .digest("hex");

s.test(
  "one that writes all over its memory changes neither the template nor its sibling",
  async () => {
    const { key } = await engine.buildTemplate();
    const [memory, state] = [join(templates, key, "memory"), join(templates, key, "state")];
    const before = [await sumOf(memory), await sumOf(state)];
    const [writer, sibling] = [await engine.runSandbox({ id: "writer", ...LEAN }), await engine.runSandbox({ id: "sibling", ...LEAN })];
    const kept = await sibling.run({
      ...onDisk,
      mounts: [{ tmpfs: true, target: "/data" }],
      command: ["sh", "-c", "echo mine > /data/file; exec sleep 600"],
    });
    await output(writer, "dd if=/dev/urandom of=/tmp/all bs=1M count=200 2>/dev/null || true; sha256sum /tmp/all | cut -c1-8");
    assert.equal([await sumOf(memory), await sumOf(state)], before);
    assert.is((await kept.exec(["cat", "/data/file"])).stdout, "mine\n");
    assert.ok((await memoryOf(writer)) > (await memoryOf(sibling)) + 100);
    for (const sandbox of [writer, sibling]) await kill(sandbox);
  },
  { timeoutMs: 120_000 },
);

s.test(
  "sandboxes go on when their template is removed, and those that come after go on from one that is built anew",
  async () => {
    const old = await engine.runSandbox({ id: "old", ...LEAN });
    const [first] = await engine.templates();
    assert.equal(await engine.removeTemplates(), [first?.key]);
    assert.match(await output(old, "cat /proc/sys/kernel/random/boot_id"), /^[0-9a-f-]{36}\n$/);
    const next = await engine.runSandbox({ id: "next", ...LEAN });
    const [second] = await engine.templates();
    assert.is(second?.key, first?.key);
    assert.is.not(second?.created, first?.created);
    assert.is.not(await output(old, "cat /proc/sys/kernel/random/boot_id"), await output(next, "cat /proc/sys/kernel/random/boot_id"));
    for (const sandbox of [old, next]) {
      await sandbox.stop();
      await sandbox.delete();
    }
    await nothing();
  },
  { timeoutMs: 180_000 },
);

s.test(
  "a directory of the host is shared with one that has a copy of the template's memory",
  async () => {
    const sandbox = await engine.runSandbox({ id: "shared", template: true });
    const container = await sandbox.run({
      rootfs,
      command: ["cat", "/etc/hostname"],
      mounts: [{ source: directory, target: "/host", readonly: true }],
    });
    await container.wait();
    const origin = (await sandbox.status()).origin;
    assert.is(origin?.from === "template" && origin.memory, "own");
    await sandbox.stop();
    await sandbox.delete();
    await nothing();
  },
  { timeoutMs: 60_000 },
);

s.test(
  "what has been changed is refused by name, and nothing of it runs",
  async () => {
    const { key } = await engine.buildTemplate();
    const memory = join(templates, key, "memory");
    const spare = join(templates, "spare");
    await rename(join(templates, key), spare);
    await mkdir(join(templates, key), { mode: 0o700 });
    for (const name of await readdir(spare)) execFileSync("cp", ["-a", "--sparse=always", join(spare, name), join(templates, key, name)]);
    const copied = await failureOf(engine.createSandbox({ id: "box", ...LEAN }));
    assert.equal([copied.code, (copied.data as { file?: string }).file], ["TEMPLATE_DAMAGED", memory]);
    await rm(join(templates, key), { recursive: true });
    await rename(spare, join(templates, key));
    await (await engine.createSandbox({ id: "box", ...LEAN })).delete();

    const { size } = await stat(memory);
    await chmod(memory, 0o600);
    await truncate(memory, size / 2);
    const cut = await failureOf(engine.createSandbox({ id: "box", ...LEAN }));
    assert.match(cut.message, new RegExp(`${memory}: it has ${size / 2} bytes`));
    await engine.removeTemplates();
    await nothing();
  },
  { timeoutMs: 120_000 },
);

s.test(
  "a template that does not fit where templates are kept is told, and leaves nothing; a sandbox that need not have it boots",
  async () => {
    const small = join(directory, "small");
    await mkdir(small, { mode: 0o700 });
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=1M,mode=0700", "tmpfs", small]);
    try {
      await using other: Engine = await createEngine({ root, templates: { directory: small } });
      const error = await failureOf(other.createSandbox({ id: "box", ...LEAN }));
      assert.ok(["VM_FAILED", "GUEST_BOOT_FAILED", "STATE_IO"].includes(error.code), error.message);
      assert.equal(error.rollback?.left, []);
      assert.equal(await readdir(small), []);
      await nothing();
      const sandbox = await other.createSandbox({ id: "box" });
      assert.is((await sandbox.status()).origin?.from, "boot");
      await sandbox.delete();
      assert.equal(await readdir(small), []);
      await other.close();
    } finally {
      execFileSync("umount", [small]);
    }
    await nothing();
  },
  { timeoutMs: 240_000 },
);

s.test("the end of the engine leaves nothing", async () => {
  await engine.close();
  await nothing();
  await world[Symbol.asyncDispose]();
});

s.run();
