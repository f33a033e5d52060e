import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { type ContainerOptions, createEngine, type SandboxOptions } from "tapvisor";
import { findProcessesByMark } from "tapvisor/plugin";
import { warmPool } from "tapvisor/plugins/warm-pool";
import * as assert from "uvu/assert";
import { hostOf, NOTHING, type RealEngine, realEngine, testTemplates } from "../../support/real-engine.ts";
import { startScript } from "../../support/script.ts";
import { suite } from "../../support/suite.ts";
import { tempDirectory } from "../../support/temp.ts";

const s = suite("warm pool on QEMU");

const SIZE = 2;
/** Of the guest, as its containers see it: one that shared its past with another would say the same. */
const WHO = ["sh", "-c", "cat /proc/sys/kernel/random/uuid; hostname; head -c 16 /dev/urandom | md5sum"];

const pooled = { plugins: [warmPool({ size: SIZE })], config: { slots: { hypervisor: "warm-pool" } } };

/** The QEMU processes of a root's pool. */
async function poolProcesses(root: string): Promise<number> {
  return (await findProcessesByMark(`path=${join(root, "state/warm")}`)).length;
}

/** Looks until something holds that nothing announces to a test. */
async function until(holds: () => Promise<boolean>): Promise<void> {
  while (!(await holds())) await delay(20);
}

/** Creates sandboxes one after the other, each with a container; what each creation took, ms, and who their guests are. */
async function inARow(
  { engine, root }: RealEngine,
  rootfs: NonNullable<ContainerOptions["rootfs"]>,
  options: SandboxOptions,
  count: number,
) {
  const took: number[] = [];
  const guests: string[] = [];
  await engine.buildTemplate(options);
  for (let number = 0; number < count; number++) {
    const begun = performance.now();
    await using sandbox = await engine.createSandbox({ ...options, template: true, id: `box-${number}` });
    took.push(performance.now() - begun);
    await sandbox.start();
    assert.is((await sandbox.status()).origin?.from, "template");
    const container = await sandbox.run({ rootfs, command: WHO });
    const [text, { exitCode }] = await Promise.all([container.stdout.text(), container.wait()]);
    assert.is(exitCode, 0);
    guests.push(...text.trim().split("\n"));
    await container.delete();
    const own = number === 0 ? 0 : 1; // the first finds an empty pool
    if (engine.hooks.length > 0) await until(async () => (await poolProcesses(root)) === own + SIZE);
  }
  return { took, guests };
}

const mean = (numbers: readonly number[]) => numbers.reduce((sum, each) => sum + each, 0) / numbers.length;

for (const [count, what, options] of [
  [6, "directories are shared with", {}],
  [3, "take disks only", { shares: false }],
] as const) {
  s.test(
    `${count} sandboxes in a row that ${what} are machines of their own, and nothing is left`,
    async () => {
      const times: number[] = [];
      for (const engineOptions of [{}, pooled]) {
        await using world = await realEngine(engineOptions);
        const image = join(world.directory, "rootfs.img");
        execFileSync("mkfs.ext4", ["-q", "-d", world.rootfs, image, "32M"], {
          env: { ...process.env, PATH: `${process.env.PATH}:/sbin:/usr/sbin` },
        });
        const rootfs = "shares" in options ? { block: image } : { directory: world.rootfs };
        const { took, guests } = await inARow(world, rootfs, options, count);
        assert.is(new Set(guests).size, 3 * count, guests.join("\n"));
        times.push(mean(took.slice(1)));
        await world.engine.close();
        assert.equal(await hostOf(world.root), NOTHING);
      }
      const [without = 0, withPool = 0] = times;
      console.log(`creating a sandbox: ${(withPool / without).toFixed(2)} of the time without a pool`);
    },
    { timeoutMs: 240_000 },
  );
}

s.test(
  "what waits dies with the script at kill -9, and the next engine's gc gives its places back",
  async () => {
    await using directory = await tempDirectory();
    const root = join(directory.path, "root");
    const script = await startScript(
      directory.path,
      "script",
      `
      import { createEngine } from "tapvisor";
      import { warmPool } from "tapvisor/plugins/warm-pool";
      const engine = await createEngine({
        root: ${JSON.stringify(root)},
        templates: { directory: ${JSON.stringify(testTemplates())} },
        plugins: [warmPool({ size: ${SIZE} })],
        config: { slots: { hypervisor: "warm-pool" } },
      });
      await engine.createSandbox({ id: "box", template: true });
      console.log("up");
      setInterval(() => {}, 1000);
      `,
    );
    await script.line("up");
    await until(async () => (await poolProcesses(root)) === SIZE);
    script.child.kill("SIGKILL");
    await script.ended;
    await until(async () => (await hostOf(root)).processes === 0);
    assert.ok((await hostOf(root)).files.some((file) => file.includes("state/warm")));
    await using engine = await createEngine({ root, templates: { directory: testTemplates() }, ...pooled });
    assert.equal((await engine.gc()).collected, ["box"]);
    assert.equal(await hostOf(root), NOTHING);
  },
  { timeoutMs: 120_000 },
);

s.run();
