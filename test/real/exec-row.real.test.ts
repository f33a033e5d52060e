import { readdir } from "node:fs/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { Container } from "tapvisor";
import * as assert from "uvu/assert";
import { realEngine } from "../support/real-engine.ts";
import { suite } from "../support/suite.ts";

const s = suite("many further processes on the real guest");

/** Each takes 0.3 s of QEMU's CPU, of which most is the agent's: a thousand take ten minutes where two cores are shared with other tests. */
const PROCESSES = Number(process.env.TAPVISOR_EXECS ?? 500);

/** What the guest holds: the agent, and all that it has started. */
async function heldInGuest(container: Container) {
  const { stdout } = await container.exec(["cat", "/proc/sys/fs/file-nr", "/proc/loadavg", "/proc/meminfo"]);
  const [files = "", load = "", ...memory] = stdout.split("\n");
  const KiB = Number(/\d+/.exec(memory.find((line) => line.startsWith("AnonPages:")) ?? "")?.[0]);
  return { descriptors: Number.parseInt(files, 10), threads: Number(load.split("/")[1]?.split(" ")[0]), MiB: Math.round(KiB / 1024) };
}

/** What this process holds. */
async function heldHere() {
  setFlagsFromString("--expose-gc");
  (runInNewContext("gc") as () => void)();
  const { heapUsed, external } = process.memoryUsage();
  const descriptors = (await readdir("/proc/self/fd")).length;
  return { descriptors, resources: process.getActiveResourcesInfo().length, MiB: Math.round((heapUsed + external) / 2 ** 20) };
}

s.test(
  `${PROCESSES} processes, a fifth one after the other and the rest eight at once, leave nothing behind, on the host or in the guest`,
  async () => {
    await using world = await realEngine();
    await using sandbox = await world.engine.runSandbox({ id: "box" });
    const web = await sandbox.run({ id: "web", rootfs: world.rootfs, command: ["sleep", "100000"] });
    const run = async (count: number, atOnce: number) => {
      const began = performance.now();
      let left = count;
      const one = async () => {
        for (let number = left--; number > 0; number = left--) {
          const { exitCode, stdout, stderr } = await web.exec(["sh", "-c", `echo ${number}; echo e${number} >&2; exit ${number % 7}`]);
          assert.equal({ exitCode, stdout, stderr }, { exitCode: number % 7, stdout: `${number}\n`, stderr: `e${number}\n` });
        }
      };
      await Promise.all(Array.from({ length: atOnce }, one));
      console.log(`${count} processes, ${atOnce} at once: ${((performance.now() - began) / count).toFixed(0)} ms each`);
    };
    await run(16, 8); // what is allocated once
    const before = { guest: await heldInGuest(web), host: await heldHere() };
    await run(PROCESSES / 5, 1);
    await run((4 * PROCESSES) / 5, 8);
    const after = { guest: await heldInGuest(web), host: await heldHere() };
    console.log(JSON.stringify({ before, after }));
    assert.ok(after.guest.descriptors - before.guest.descriptors < 64, "descriptors of the guest");
    assert.ok(after.guest.threads - before.guest.threads < 20, "threads of the guest");
    assert.ok(after.guest.MiB - before.guest.MiB < 24, "memory of the guest: it remembers 1,024 processes with their ends");
    assert.ok(after.host.descriptors - before.host.descriptors < 4, "descriptors of the host");
    assert.ok(after.host.resources - before.host.resources < 4, "timers, sockets and requests of the host");
    assert.ok(after.host.MiB - before.host.MiB < 8, "memory of the host");
  },
  { timeoutMs: 580_000 },
);

s.run();
