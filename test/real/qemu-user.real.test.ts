import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createEngine } from "tapvisor";
import { hypervisorQemu } from "tapvisor/plugins/hypervisor-qemu";
import * as assert from "uvu/assert";
import { makeExampleRootfs } from "../../scripts/example-rootfs.ts";
import { failureOf, hostOf, NOTHING, realEngine } from "../support/real-engine.ts";
import { startScript } from "../support/script.ts";
import { suite } from "../support/suite.ts";
import { tempDirectory } from "../support/temp.ts";

const s = suite("QEMU as a user of its own, with the real guest");
const TIMEOUT = { timeoutMs: 180_000 };
const isRoot = process.geteuid?.() === 0;
const test: typeof s.test = isRoot ? s.test : (title) => s.skip(title, "becoming another user needs root");
/** Debian's and Ubuntu's, with a group of its own. */
const USER = "daemon";

/** Whom a process runs as. */
async function uidOf(pid: number | undefined): Promise<string | undefined> {
  return /^Uid:\s+(\d+)/m.exec(await readFile(`/proc/${pid}/status`, "utf8"))?.[1];
}

test(
  "a container runs with a writable mount, grows and shrinks, and is paused; a disk in root's own directory is refused; nothing is left",
  async () => {
    await using world = await realEngine({ plugins: [hypervisorQemu({ user: USER })] });
    const { engine, rootfs, directory } = world;
    const data = join(directory, "data");
    await mkdir(data);
    await writeFile(join(data, "greeting"), "hello\n");
    const sandbox = await engine.runSandbox({ id: "box", memory: "512MiB", maxVcpus: 4, maxMemory: "2GiB" });
    assert.is(await uidOf((await engine.inspect("box")).vm?.pid), "1");
    const { origin } = await sandbox.status();
    assert.equal(origin?.from, "boot");
    const web = await sandbox.run({
      id: "web",
      rootfs,
      command: ["cat"],
      mounts: [{ source: data, target: "/data" }],
      resources: { vcpus: 2, memory: "256MiB" },
    });
    const seen = await web.exec(["sh", "-c", "nproc; cat /data/greeting; echo written > /data/back; id -u"]);
    assert.equal([seen.exitCode, seen.stdout.trim().split("\n").slice(1)], [0, ["hello", "0"]]);
    assert.is(await readFile(join(data, "back"), "utf8"), "written\n");
    assert.ok((await sandbox.resources()).granted.vcpus >= 2);
    await sandbox.pause();
    await sandbox.resume();
    assert.is((await web.exec(["echo", "again"])).stdout, "again\n");
    const image = join(directory, "disk.img");
    await writeFile(image, Buffer.alloc(2 ** 20));
    const refused = await failureOf(sandbox.run({ id: "on-disk", rootfs: { block: image, fstype: "ext4" }, command: ["true"] }));
    assert.is(refused.code, "INVALID_INPUT");
    assert.match(refused.message, /user "daemon"/);
    assert.equal(refused.rollback?.left, []);
    await web.stop({ force: true });
    await web.delete();
    assert.equal((await sandbox.resources()).target.vcpus, 1);
    await sandbox.stop();
    await sandbox.delete();
    assert.equal(await world.host(), NOTHING);
  },
  TIMEOUT,
);

test(
  "kill -9 of the script ends QEMU, and gc() of an engine without the option takes what is left",
  async () => {
    await using directory = await tempDirectory();
    const root = join(directory.path, "root");
    const rootfs = join(directory.path, "rootfs");
    makeExampleRootfs(rootfs);
    const script = await startScript(
      directory.path,
      "script",
      `
        import { createEngine } from "tapvisor";
        import { hypervisorQemu } from "tapvisor/plugins/hypervisor-qemu";
        await using engine = await createEngine({ root: ${JSON.stringify(root)}, plugins: [hypervisorQemu({ user: ${JSON.stringify(USER)} })] });
        await using sandbox = await engine.runSandbox({ id: "box" });
        await using container = await sandbox.run({ id: "web", rootfs: ${JSON.stringify(rootfs)}, command: ["cat"] });
        console.log("up " + (await engine.inspect("box")).vm.pid);
        await new Promise((resolve) => setTimeout(resolve, 600_000));
      `,
    );
    const [, pid] = (await script.line("up ")).split(" ");
    assert.is(await uidOf(Number(pid)), "1");
    script.child.kill("SIGKILL");
    await script.ended;
    const deadline = Date.now() + 10_000;
    while ((await hostOf(root)).processes > 0 && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 20));
    assert.is((await hostOf(root)).processes, 0);
    await using engine = await createEngine({ root });
    assert.equal(await engine.gc(), { collected: ["box"], kept: [], failed: [], corrupt: [] });
    assert.equal(await hostOf(root), NOTHING);
  },
  TIMEOUT,
);

s.run();
