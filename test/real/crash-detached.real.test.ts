import { createEngine } from "tapvisor";
import * as assert from "uvu/assert";
import type { Crash } from "../support/crash-child.ts";
import { crashScene, nameOf } from "../support/crash-scene.ts";
import { around } from "../support/moments.ts";
import { startScript } from "../support/script.ts";
import { suite } from "../support/suite.ts";
import { watchedBackends } from "../support/watched-backends.ts";
import { guestView, hostView, stateFiles, vmView } from "../support/whole-world.ts";

const s = suite("kill -9 of a script with a detached sandbox on real QEMU");
const TIMEOUT = { timeoutMs: 180_000 };
const scene = await crashScene();
const { root, rootfs, empty } = scene;

type Case = Omit<Crash, "root" | "rootfs">;
const CONTAINER: readonly Case[] = [
  ...around([
    "record",
    "prepare-rootfs",
    "attach-share",
    "attach-devices",
    "plug-resources",
    "create-guest-container",
    "run-hooks",
    "commit",
  ]).map((moment) => ({ verb: "create container", moment }) as const),
  ...[10, 40].map((afterMs) => ({ verb: "create container", moment: "before hypervisor.share.acquire", afterMs }) as const),
  { verb: "create container", moment: "after hypervisor.share.acquire" },
  ...[5, 40].map((afterMs) => ({ verb: "create container", moment: "before agent.createContainer", afterMs }) as const),
  { verb: "create container", moment: "after agent.createContainer" },
  ...around(["start-process", "commit"]).map((moment) => ({ verb: "start container", moment }) as const),
  { verb: "start container", moment: "before agent.startContainer", afterMs: 20 },
  { verb: "start container", moment: "after agent.startContainer" },
  ...["hypervisor.disk.acquire", "hypervisor.resizeMemory", "hypervisor.resizeVcpus", "agent.syncResources"].map(
    (call) => ({ verb: "create container", moment: `after ${call}` }) as const,
  ),
  ...around(["grow-vm", "update-guest", "agent.updateContainer", "shrink-vm"]).map(
    (moment) => ({ verb: "update container", moment }) as const,
  ),
  { verb: "update container", moment: "before commit" },
  ...around(["agent.signalProcess"]).map((moment) => ({ verb: "stop container", moment }) as const),
  ...["agent.removeContainer", "agent.releaseDisk", "hypervisor.disk.release", "hypervisor.share.release", "rootfs.release"].flatMap(
    (call) => around([call]).map((moment) => ({ verb: "delete container", moment }) as const),
  ),
  { verb: "delete container", moment: "before hypervisor.share.release", afterMs: 15 },
];

s.test(
  "a detached sandbox survives scripts that die in every step of its containers' lives: the next one finds the VM as it was before them",
  async () => {
    const { plugins, grant } = watchedBackends();
    await using owner = await createEngine({ root, plugins });
    const first = await owner.runSandbox({ id: "live", detached: true });
    await guestView(first, rootfs);
    // vCPUs that have been plugged in once stay plugged in, parked: they are there from here on.
    await (await first.run({ id: "web", rootfs, command: ["sleep", "600"], resources: { vcpus: 2 } }))[Symbol.asyncDispose]();
    const before = { guest: await guestView(first, rootfs), vm: await vmView(grant("live")), host: await hostView(root) };
    await owner.close();
    try {
      for (const crash of CONTAINER) {
        await scene.dies({ ...crash, attach: "live" });
        await using engine = await createEngine({ root, plugins: watchedBackends().plugins });
        assert.equal(await engine.gc(), { collected: [], kept: ["live"], failed: [], corrupt: [] }, nameOf(crash));
        const sandbox = await engine.sandbox("live");
        for (const container of sandbox.containers()) await container[Symbol.asyncDispose]();
        assert.equal(sandbox.containers(), [], nameOf(crash));
        const now = { guest: await guestView(sandbox, rootfs), vm: await vmView(grant("live")) };
        assert.equal(now, { guest: before.guest, vm: before.vm }, nameOf(crash));
        const { target, granted } = await sandbox.resources();
        assert.equal(granted, target, nameOf(crash));
        assert.equal(sandbox.devices(), [], nameOf(crash));
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
      scene.path,
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
    await scene[Symbol.asyncDispose]();
    console.log(`${CONTAINER.length + 1} scripts killed on real QEMU, their VM running on`);
  },
  TIMEOUT,
);

s.run();
