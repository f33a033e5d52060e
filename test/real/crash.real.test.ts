import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { createEngine } from "tapvisor";
import * as assert from "uvu/assert";
import { makeExampleRootfs } from "../../scripts/example-rootfs.ts";
import { CREATE_SANDBOX_STEPS } from "../../src/sandbox/create.ts";
import type { Crash } from "../support/crash-child.ts";
import { around } from "../support/moments.ts";
import { startScript } from "../support/script.ts";
import { suite } from "../support/suite.ts";
import { tempDirectory } from "../support/temp.ts";
import { watchedBackends } from "../support/watched-backends.ts";
import { guestView, hostView, stateFiles, vmView } from "../support/whole-world.ts";

const s = suite("kill -9 of a script on real QEMU");
const TIMEOUT = { timeoutMs: 300_000 };
const directory = await tempDirectory();
const root = join(directory.path, "root");
const rootfs = join(directory.path, "rootfs");
makeExampleRootfs(rootfs);
await mkdir(root);
const empty = await hostView(root);
let cases = 0;

/** A script that dies; resolves when its process is gone. */
async function dies(crash: Omit<Crash, "root" | "rootfs">): Promise<void> {
  const argv = ["--import", "tsx", join(import.meta.dirname, "../support/crash-child.ts"), JSON.stringify({ root, rootfs, ...crash })];
  const child = spawn(process.execPath, argv, { stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk) => {
      said += chunk;
    });
  }
  const [, signal] = await once(child, "close");
  assert.is(signal, "SIGKILL", `${crash.verb}, ${crash.moment}: ${said}`);
  cases++;
}

const SANDBOX: readonly Omit<Crash, "root" | "rootfs">[] = [
  ...around(CREATE_SANDBOX_STEPS).map((moment) => ({ verb: "create sandbox", moment }) as const),
  // Inside: half way, and with all the effect of a step of which the record does not know yet.
  ...[10, 40, 150].map((afterMs) => ({ verb: "create sandbox", moment: "before hypervisor.vm.acquire", afterMs }) as const),
  { verb: "create sandbox", moment: "after hypervisor.vm.acquire" },
  { verb: "create sandbox", moment: "before agent.connect", afterMs: 300 },
  { verb: "create sandbox", moment: "after agent.connect" },
  { verb: "create sandbox", moment: "before agent.createSandbox", afterMs: 5 },
  { verb: "create sandbox", moment: "after agent.createSandbox" },
];

const CONTAINER: readonly Omit<Crash, "root" | "rootfs">[] = [
  ...around(["record", "prepare-rootfs", "attach-share", "create-guest-container", "run-hooks", "commit"]).map(
    (moment) => ({ verb: "create container", moment }) as const,
  ),
  ...[10, 40].map((afterMs) => ({ verb: "create container", moment: "before hypervisor.share.acquire", afterMs }) as const),
  { verb: "create container", moment: "after hypervisor.share.acquire" },
  ...[5, 40].map((afterMs) => ({ verb: "create container", moment: "before agent.createContainer", afterMs }) as const),
  { verb: "create container", moment: "after agent.createContainer" },
  ...around(["start-process", "commit"]).map((moment) => ({ verb: "start container", moment }) as const),
  { verb: "start container", moment: "before agent.startContainer", afterMs: 20 },
  { verb: "start container", moment: "after agent.startContainer" },
  ...around(["agent.signalProcess"]).map((moment) => ({ verb: "stop container", moment }) as const),
  ...["agent.removeContainer", "hypervisor.share.release", "rootfs.release"].flatMap((call) =>
    around([call]).map((moment) => ({ verb: "delete container", moment }) as const),
  ),
  { verb: "delete container", moment: "before hypervisor.share.release", afterMs: 15 },
];

const STOP: readonly Omit<Crash, "root" | "rootfs">[] = [
  ...["agent.removeContainer", "hypervisor.share.release", "agent.destroySandbox", "hypervisor.vm.release"].map(
    (call) => ({ verb: "stop sandbox", moment: `before ${call}` }) as const,
  ),
  { verb: "stop sandbox", moment: "release connect-agent" },
  { verb: "stop sandbox", moment: "release make-run-directory" },
  { verb: "stop sandbox", moment: "after hypervisor.vm.release" },
];

const nameOf = ({ verb, moment, afterMs }: Omit<Crash, "root" | "rootfs">) => `${verb}, ${afterMs ? `${afterMs} ms after: ` : ""}${moment}`;

for (const crash of [...SANDBOX, ...STOP, ...CONTAINER.filter((_, index) => index % 6 === 5)]) {
  s.test(
    `gc() in another process gives back what a script left that died in ${nameOf(crash)}`,
    async () => {
      await dies(crash);
      await gone();
      await using engine = await createEngine({ root });
      const recorded = (await engine.list()).length;
      const report = await engine.gc();
      assert.equal(report, { collected: recorded > 0 ? ["box"] : [], kept: [], failed: [], corrupt: [] });
      assert.equal(await hostView(root), empty);
      assert.equal(await stateFiles(root), []); // so the next case makes the same id again
    },
    TIMEOUT,
  );
}

/** The kernel ends the children of a killed script, a moment after it. There is no event for a process that is not ours. */
async function gone(): Promise<void> {
  const deadline = Date.now() + 10_000;
  const processes = async () => ((await hostView(root)) as { processes: string[] }).processes;
  while ((await processes()).length > 0) {
    if (Date.now() > deadline) throw new Error(`processes of a killed script still run: ${await processes()}`);
    await delay(20);
  }
}

s.test(
  "a detached sandbox survives scripts that die in every step of its containers' lives: the next one finds the VM as it was before them",
  async () => {
    const { plugins, grant } = watchedBackends();
    await using owner = await createEngine({ root, plugins });
    const first = await owner.runSandbox({ id: "live", detached: true });
    await guestView(first, rootfs);
    const before = { guest: await guestView(first, rootfs), vm: await vmView(grant("live")), host: await hostView(root) };
    await owner.close();
    try {
      for (const crash of CONTAINER) {
        await dies({ ...crash, attach: "live" });
        await using engine = await createEngine({ root, plugins: watchedBackends().plugins });
        assert.equal(await engine.gc(), { collected: [], kept: ["live"], failed: [], corrupt: [] }, nameOf(crash));
        const sandbox = await engine.sandbox("live");
        for (const container of sandbox.containers()) await container[Symbol.asyncDispose]();
        assert.equal(sandbox.containers(), [], nameOf(crash));
        const now = { guest: await guestView(sandbox, rootfs), vm: await vmView(grant("live")) };
        assert.equal(now, { guest: before.guest, vm: before.vm }, nameOf(crash));
        const again = await sandbox.run({ id: "web", rootfs, command: ["true"] });
        assert.equal(await again.wait(), { exitCode: 0 });
        await again.delete();
      }
    } finally {
      await using engine = await createEngine({ root });
      const sandbox = await engine.sandbox("live");
      await sandbox.stop({ force: true });
      await sandbox.delete();
    }
    assert.equal(await hostView(root), empty);
    assert.equal(await stateFiles(root), []);
  },
  { timeoutMs: 600_000 },
);

s.test(
  "a live detached sandbox is adopted after kill -9 of its script: containers run on, and output written before and after is read",
  async () => {
    const script = await startScript(
      directory.path,
      "script",
      `
        import { createEngine } from "tapvisor";
        const engine = await createEngine({ root: ${JSON.stringify(root)} });
        const sandbox = await engine.runSandbox({ id: "live", detached: true });
        const echo = 'echo first; echo to-stderr >&2; while read line; do echo "got $line"; done; exit 4';
        const web = await sandbox.run({ id: "web", rootfs: ${JSON.stringify(rootfs)}, command: ["sh", "-c", echo] });
        web.stdin.write("one\\n");
        const ended = await sandbox.run({ id: "ended", rootfs: ${JSON.stringify(rootfs)}, command: ["sh", "-c", "echo last words; exit 9"] });
        await ended.wait();
        process.stdout.write("up\\n", () => process.kill(process.pid, "SIGKILL"));
        await new Promise(() => setInterval(() => {}, 1000));
      `,
    );
    await script.line("up");
    assert.is((await script.ended).signal, "SIGKILL");
    await using engine = await createEngine({ root });
    assert.equal(await engine.gc(), { collected: [], kept: ["live"], failed: [], corrupt: [] });
    const sandbox = await engine.sandbox("live");
    try {
      assert.is(sandbox.state, "running");
      const web = sandbox.container("web");
      assert.is(web.state, "running");
      web.stdin.end("two\n");
      assert.is(await web.stdout.text(), "first\ngot one\ngot two\n");
      assert.is(await web.stderr.text(), "to-stderr\n");
      assert.equal(await web.wait(), { exitCode: 4 });
      const ended = sandbox.container("ended");
      assert.is(ended.state, "stopped");
      assert.equal(await ended.wait(), { exitCode: 9 });
    } finally {
      await sandbox.stop({ force: true });
      await sandbox.delete();
    }
    assert.equal(await hostView(root), empty);
    await directory[Symbol.asyncDispose]();
    console.log(`${cases} scripts killed on real QEMU`);
  },
  TIMEOUT,
);

s.run();
