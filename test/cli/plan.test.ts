import { mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Plan } from "tapvisor";
import * as assert from "uvu/assert";
import { cli } from "../support/cli.ts";
import { suite } from "../support/suite.ts";
import { tempDirectory } from "../support/temp.ts";

const s = suite("tapvisor plan");

const SCRIPT = `
import { createEngine } from "tapvisor";
await using engine = await createEngine();
await using sandbox = await engine.runSandbox({ id: "box", vcpus: 1, memory: "512MiB" });
const web = await sandbox.run({
  id: "web", rootfs: "./rootfs", command: ["anything", "at all"],
  resources: { vcpus: 2, memory: "200MiB" }, devices: [{ path: "./disk.img", target: "/dev/data", readonly: true }],
  mounts: [{ volume: "cache", target: "/cache" }],
});
console.log("exit", (await web.wait()).exitCode);
await web.delete();
const db = await sandbox.createContainer({ id: "db", rootfs: "./rootfs", command: ["x"], resources: { vcpus: 1 } });
await db.update({ vcpus: 3 });
await db.stop();
`;

async function scene() {
  const directory = await tempDirectory();
  await mkdir(join(directory.path, "rootfs"));
  await writeFile(join(directory.path, "disk.img"), Buffer.alloc(4096));
  await writeFile(join(directory.path, "script.mts"), SCRIPT);
  return directory;
}

s.test(
  "says what a script would plug, by which commands, and the ledger before and after; nothing is touched",
  async () => {
    await using directory = await scene();
    const root = join(directory.path, "root");
    const before = await readdir(directory.path, { recursive: true });
    const run = await cli(["plan", "--json", "script.mts"], { cwd: directory.path, env: { TAPVISOR_ROOT: root } });
    assert.is(run.exitCode, 0, run.stderr);
    assert.match(run.stderr, "exit 0");
    const plans = JSON.parse(run.stdout) as Plan[];
    assert.equal(
      plans.map(({ change }) => change),
      ['create container "web"', 'create container "db"', 'update container "db"', 'stop container "db"'],
    );
    const [web, db, update, stop] = plans as [Plan, Plan, Plan, Plan];
    assert.equal(
      web.hotplugs.map(({ kind, action }) => `${action} ${kind}`),
      ["plug share", "plug block", "plug vcpu", "plug memory"],
    );
    const commands = web.commands.map(({ command }) => command);
    for (const command of ["chardev-add", "blockdev-add", "device_add"]) assert.ok(commands.includes(command), commands.join());
    assert.equal([web.before.target.vcpus, web.after.target.vcpus], [1, 3]);
    assert.is(web.after.target.memoryBytes, (512 + 256) * 2 ** 20);
    assert.is(db.after.target.vcpus, 2, "web has given its share back");
    assert.equal([update.before.target.vcpus, update.after.target.vcpus], [2, 4]);
    assert.equal([stop.before.target.vcpus, stop.after.target.vcpus], [4, 1]);
    assert.equal(await readdir(directory.path, { recursive: true }), before);
  },
  { timeoutMs: 60_000 },
);

s.test(
  "prints the same for a person, and an error of the script as `run` does",
  async () => {
    await using directory = await scene();
    const run = await cli(["plan", "script.mts"], { cwd: directory.path });
    assert.match(run.stdout, 'create container "web" in sandbox box\n  plug share: ');
    assert.match(run.stdout, "vCPUs 1 -> 3 (at most ");
    assert.match(run.stdout, "memory 512MiB -> 768MiB (at most ");
    await writeFile(join(directory.path, "bad.mts"), SCRIPT.replace("./disk.img", "./missing.img"));
    const bad = await cli(["plan", "bad.mts"], { cwd: directory.path });
    assert.is(bad.exitCode, 1);
    assert.match(bad.stderr, "INVALID_INPUT");
  },
  { timeoutMs: 60_000 },
);

s.run();
