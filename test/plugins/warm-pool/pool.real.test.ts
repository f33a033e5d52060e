import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Engine, SandboxOptions } from "tapvisor";
import { findProcessesByMark } from "tapvisor/plugin";
import { rootfsBlock } from "tapvisor/plugins/rootfs-block";
import { warmPool } from "tapvisor/plugins/warm-pool";
import * as assert from "uvu/assert";
import { hostOf, NOTHING, type RealEngine, realEngine } from "../../support/real-engine.ts";
import { suite } from "../../support/suite.ts";

const s = suite("warm pool on QEMU");

const SANDBOXES = 6;
const SIZE = 2;

const pooled = () => realEngine({ plugins: [warmPool({ size: SIZE })], config: { slots: { hypervisor: "warm-pool" } } });

/** The VMs that wait: those of its directory that no sandbox has. */
async function waiting({ root, engine }: RealEngine): Promise<number> {
  const running = (await findProcessesByMark(join(root, "state/warm"))).length; // QEMU and its log, each
  return running / 2 - (await engine.list()).length;
}

async function filled(world: RealEngine): Promise<void> {
  while ((await waiting(world)) < SIZE) await delay(20);
}

/** Creates a sandbox, runs a container in it, and says how long the first took and who the guest is. */
async function one(engine: Engine, rootfs: string, options: SandboxOptions) {
  const begun = performance.now();
  await using sandbox = await engine.createSandbox({ ...options, template: true });
  const ms = performance.now() - begun;
  await sandbox.start();
  const container = await sandbox.run({ rootfs, command: ["cat", "/etc/machine-id"], mounts: [{ source: "/etc/passwd", target: "/p" }] });
  const [text, { exitCode }] = await Promise.all([container.stdout.text(), container.wait()]);
  return { ms, text, exitCode, machineId: sandbox.id };
}

s.test(
  "smoke",
  async () => {
    await using world = await pooled();
    await world.engine.buildTemplate();
    for (let i = 0; i < SANDBOXES; i++) {
      const t = performance.now();
      const r = await one(world.engine, world.rootfs, {});
      console.log(i, Math.round(r.ms), Math.round(performance.now() - t), r);
      await filled(world);
    }
  },
  { timeoutMs: 120_000 },
);

s.test(
  "plain",
  async () => {
    await using world = await realEngine();
    await world.engine.buildTemplate();
    for (let i = 0; i < SANDBOXES; i++) {
      const t = performance.now();
      const r = await one(world.engine, world.rootfs, {});
      console.log(i, Math.round(r.ms), Math.round(performance.now() - t), r);
    }
  },
  { timeoutMs: 120_000 },
);
s.run();
