import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Container, definePlugin, type Sandbox } from "tapvisor";
import * as assert from "uvu/assert";
import { findProcessesByMark, signalProcess } from "../../src/base/process-identity.ts";
import { Moments } from "../support/moments.ts";
import { failureOf, type RealEngine, realEngine } from "../support/real-engine.ts";
import { suite } from "../support/suite.ts";
import { hostView, stateFiles } from "../support/whole-world.ts";

const s = suite("the death of QEMU and of virtiofsd");
/** Shorter than any deadline of the agent's requests: what waited for one would show here. */
const TIMEOUT = { timeoutMs: 28_000 };

interface Scene {
  readonly world: RealEngine;
  readonly sandbox: Sandbox;
  readonly moments: Moments;
  readonly web: Parameters<Sandbox["run"]>[0];
  /** What the hooks were told, in order. */
  readonly told: string[];
  /** Resolves when the sandbox has noticed that its VM is gone, and what that held has been given back. */
  readonly noticed: Promise<void>;
  /** Ends the sandbox by force, and looks for what is left. */
  end(): Promise<void>;
}

/** A running sandbox for work in which something dies. */
async function withSandbox(work: (scene: Scene) => Promise<void>): Promise<void> {
  const moments = new Moments();
  const told: string[] = [];
  let notice = () => {};
  const noticed = new Promise<void>((resolve) => {
    notice = resolve;
  });
  const listen = definePlugin("listen", (ctx) => {
    ctx.hooks.vmExited.tapPromise(async ({ signal }) => void told.push(`vmExited ${signal}`));
    ctx.hooks.agentLost.tapPromise(async () => void told.push("agentLost"));
    ctx.hooks.stateChange.tapPromise(async ({ container, to }) => {
      if (!container && to === "stopped") notice();
    });
  });
  await using world = await realEngine({ plugins: [...moments.plugins, listen()], probe: moments.probe, releaseTimeoutMs: 1_000 });
  const empty = await hostView(world.root);
  const sandbox = await world.engine.runSandbox({ id: "box" });
  const end = async () => {
    await sandbox.stop({ force: true });
    assert.is(sandbox.state, "stopped");
    await sandbox.delete();
    assert.equal(await hostView(world.root), empty);
    assert.equal(await stateFiles(world.root), []);
    assert.equal(await world.engine.list(), []);
  };
  const image = join(world.directory, "disk.img");
  await writeFile(image, Buffer.alloc(2 ** 20));
  const resources = { vcpus: 1, memory: "128MiB" };
  const web = { id: "web", rootfs: world.rootfs, command: ["cat"], resources, devices: [{ path: image, target: "/dev/data" }] };
  await work({ world, sandbox, moments, told, noticed, end, web });
}

/** Both come of one death, in either order. */
const once = (told: readonly string[]) => assert.equal([...told].sort(), ["agentLost", "vmExited SIGKILL"]);

const lost = /^(AGENT_LOST|VM_FAILED|VM_COMMAND_FAILED|INVALID_STATE)$/;

s.test(
  "QEMU killed while nothing happens: the hooks hear of it once, what it held is given back, start() boots a new one",
  () =>
    withSandbox(async ({ sandbox, moments, told, noticed, end }) => {
      await moments.backends.killQemu("box");
      await noticed;
      once(told);
      assert.is((await sandbox.status()).state, "stopped");
      await sandbox.start();
      assert.is(sandbox.state, "running");
      await end();
      once(told);
    }),
  { timeoutMs: 60_000 },
);

for (const moment of [
  "before hypervisor.share.acquire",
  "after hypervisor.share.acquire",
  "before hypervisor.disk.acquire",
  "after hypervisor.disk.acquire",
  "before hypervisor.resizeMemory",
  "before hypervisor.resizeVcpus",
  "after hypervisor.resizeVcpus",
  "before agent.createContainer",
  "before agent.startContainer",
]) {
  s.test(
    `QEMU killed ${moment}: the call fails at once, and nothing is left`,
    () =>
      withSandbox(async ({ sandbox, moments, told, noticed, web, end }) => {
        moments.arm(moment, () => moments.backends.killQemu("box"));
        const error = await failureOf(sandbox.run(web));
        assert.is(moments.disarm(), 1);
        assert.match(error.code, lost, error.message);
        assert.equal(error.rollback?.left, []);
        await noticed;
        once(told);
        await end();
      }),
    TIMEOUT,
  );
}

s.test(
  "QEMU killed under a running container: everything that waits for it fails at once",
  () =>
    withSandbox(async ({ sandbox, moments, told, noticed, web, end }) => {
      const container = await sandbox.run(web);
      const waiting = [container.wait(), container.stdout.text(), container.stderr.text()].map((work) => failureOf(work));
      await moments.backends.killQemu("box");
      for (const error of await Promise.all(waiting)) assert.is(error.code, "AGENT_LOST");
      await noticed;
      once(told);
      assert.is(container.state, "stopped");
      await end();
    }),
  TIMEOUT,
);

s.test(
  "QEMU killed while a container is stopped and another is deleted: both can be ended, by force too",
  () =>
    withSandbox(async ({ sandbox, moments, told, noticed, web, end }) => {
      const stubborn: Container = await sandbox.run({
        ...web,
        id: "stubborn",
        command: ["sh", "-c", "trap '' TERM; while :; do sleep 1; done"],
      });
      const container = await sandbox.createContainer(web);
      moments.arm("after agent.signalProcess", () => moments.backends.killQemu("box"));
      assert.match((await failureOf(stubborn.stop())).code, lost);
      assert.is(moments.disarm(), 1);
      await container.delete();
      await stubborn.stop({ force: true });
      await noticed;
      once(told);
      await end();
    }),
  TIMEOUT,
);

// A guest waits for ever for a file server that has gone: what is asked of it then ends at a deadline, and what is left goes with the VM.

s.test(
  "virtiofsd killed under a running container: it is stopped by force, what deleting it leaves is named, the sandbox's end gives all back",
  () =>
    withSandbox(async ({ world, sandbox, web, end }) => {
      const container = await sandbox.run(web);
      await killFileServer(world.root);
      // Its process waits in the guest's kernel, where no signal reaches it.
      await container.stop({ force: true, signal: AbortSignal.timeout(1_000) });
      assert.is(container.state, "stopped");
      const outcome = await container.delete().then(
        () => "deleted",
        (error: { code: string }) => error.code,
      );
      assert.ok(["deleted", "RELEASE_INCOMPLETE"].includes(outcome), outcome);
      assert.is(sandbox.containers().length, outcome === "deleted" ? 0 : 1);
      await end();
    }),
  { timeoutMs: 60_000 },
);

s.test(
  "virtiofsd killed while a container is created: the call fails when its caller gives up, what is left is named, other containers go on",
  () =>
    withSandbox(async ({ world, sandbox, moments, web, end }) => {
      const other = await sandbox.run({ ...web, id: "other" });
      const caller = new AbortController();
      moments.arm("before agent.createContainer", async () => {
        await killFileServer(world.root);
        setTimeout(() => caller.abort(), 1_000);
      });
      const error = await failureOf(sandbox.createContainer(web, { signal: caller.signal }));
      assert.is(moments.disarm(), 1);
      assert.match(error.code, /ABORTED|AGENT_FAILED/, error.message);
      const left = error.rollback?.left.map(({ step }) => step) ?? [];
      assert.equal(left, ["attach-share", "create-guest-container"]);
      assert.is(sandbox.container("web").state, "failed");
      other.stdin.end("hello\n");
      assert.is(await other.stdout.text(), "hello\n");
      assert.equal(await other.wait(), { exitCode: 0 });
      await end();
    }),
  { timeoutMs: 60_000 },
);

async function killFileServer(root: string): Promise<void> {
  const servers = await findProcessesByMark(`${root}/run/box/share-web/fs.sock`);
  assert.ok(servers.length > 0, "a file server runs");
  for (const server of servers) await signalProcess(server, "SIGKILL");
}

s.run();
