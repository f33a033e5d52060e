import { createEngine } from "tapvisor";
import * as assert from "uvu/assert";
import { crashScene } from "../support/crash-scene.ts";
import { survivesCrashes } from "../support/detached-crashes.ts";
import { around } from "../support/moments.ts";
import { startScript } from "../support/script.ts";
import { suite } from "../support/suite.ts";
import { hostView } from "../support/whole-world.ts";

const s = suite("kill -9 of a script with containers in a detached sandbox on real QEMU");
const TIMEOUT = { timeoutMs: 180_000 };
const scene = await crashScene();
const { root, rootfs, empty } = scene;

const CRASHES = [
  ...around(["start-process", "commit"]).map((moment) => ({ verb: "start container", moment }) as const),
  { verb: "start container", moment: "before agent.startContainer", afterMs: 20 } as const,
  { verb: "start container", moment: "after agent.startContainer" } as const,
  ...around(["grow-vm", "update-guest", "agent.updateContainer", "shrink-vm"]).map(
    (moment) => ({ verb: "update container", moment }) as const,
  ),
  { verb: "update container", moment: "before commit" } as const,
  ...around(["agent.signalProcess"]).map((moment) => ({ verb: "stop container", moment }) as const),
  ...["agent.removeContainer", "agent.releaseDisk", "hypervisor.disk.release", "hypervisor.share.release", "rootfs.release"].flatMap(
    (call) => around([call]).map((moment) => ({ verb: "delete container", moment }) as const),
  ),
  { verb: "delete container", moment: "before hypervisor.share.release", afterMs: 15 } as const,
];

s.test(
  "a detached sandbox survives scripts that die in every step of starting, updating and ending a container: the next one finds the VM as it was",
  () => survivesCrashes(scene, CRASHES),
  { timeoutMs: 590_000 },
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
    console.log(`${CRASHES.length + 1} scripts killed on real QEMU, their VM running on`);
  },
  TIMEOUT,
);

s.run();
