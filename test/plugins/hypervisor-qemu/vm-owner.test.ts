import { setTimeout as delay } from "node:timers/promises";
import { isAlive } from "tapvisor/plugin";
import * as assert from "uvu/assert";
import { suite } from "../../support/suite.ts";
import { startElsewhere, startOwner } from "./support/elsewhere.ts";
import { unpluggingKernel } from "./support/real-mode-kernel.ts";
import { call, processesOf, shareIntent, shares, until, world } from "./support/world.ts";

const s = suite("hypervisor-qemu owner");
const isRoot = process.geteuid?.() === 0;
const test = isRoot ? s.test : (title: string) => s.skip(title, "shares need root");

test("kill -9 of the script ends QEMU, virtiofsd and their logs", async () => {
  await using w = await world(unpluggingKernel());
  await using owner = startOwner(w, { share: true });
  const { vm, share } = await owner.grants;
  assert.ok(vm.process && (await isAlive(vm.process)));
  assert.ok(share?.process && (await isAlive(share.process)));
  await owner.kill();
  await until(async () => (await processesOf(w.intent)).length === 0);
});

test(
  "kill -9 of the script at any instant of the start leaves no process",
  async () => {
    for (const afterMs of [0, 10, 20, 30, 45, 60, 90]) {
      await using w = await world(unpluggingKernel());
      await using owner = startOwner(w, { share: true });
      // The first sign of a start; from there the delays reach from the log process to the plugged share.
      await until(async () => (await processesOf(w.intent)).some((line) => !line.includes("owner.ts")));
      await delay(afterMs);
      await owner.kill();
      await until(async () => (await processesOf(w.intent)).length === 0);
    }
  },
  { timeoutMs: 90_000 },
);

test("kill -9 of QEMU ends virtiofsd, and both releases succeed", async () => {
  await using w = await world(unpluggingKernel());
  const vm = await w.hypervisor.holdings.vm.acquire(w.intent, call());
  const intent = await shareIntent(w.directory, vm);
  const grant = await shares(w.hypervisor).acquire(intent, call());
  process.kill(vm.process?.pid ?? 0, "SIGKILL");
  await until(async () => (await processesOf(w.intent)).length === 0);
  await shares(w.hypervisor).release({ intent, grant }, call());
  await w.hypervisor.holdings.vm.release({ intent: w.intent, grant: vm }, call());
});

test("a detached VM and its share outlive the script, and a later process unplugs and ends them", async () => {
  await using w = await world(unpluggingKernel(), { detached: true });
  const { vm, share } = await startElsewhere(w, { share: true });
  assert.ok(vm.process && (await isAlive(vm.process)));
  assert.ok(share?.process && (await isAlive(share.process)));
  await shares(w.hypervisor).release({ intent: await shareIntent(w.directory, vm), grant: share }, call());
  assert.not.ok(await isAlive(share.process));
  assert.ok(await isAlive(vm.process));
  await w.hypervisor.holdings.vm.release({ intent: w.intent, grant: vm }, call());
  assert.equal(await processesOf(w.intent), []);
});

s.run();
