import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { identifyProcess, isAlive, isTapvisorError, type VmGrant } from "tapvisor/plugin";
import * as assert from "uvu/assert";
import { LOG_BYTES } from "../../../plugins/hypervisor-qemu/bounded-log.ts";
import { leaseMachine } from "../../../plugins/hypervisor-qemu/machines.ts";
import { suite } from "../../support/suite.ts";
import { startElsewhere } from "./support/elsewhere.ts";
import { floodingKernel, haltingKernel, resettingKernel } from "./support/real-mode-kernel.ts";
import { refusal } from "./support/refusal.ts";
import { call, processesOf, qemu, until, world } from "./support/world.ts";

const s = suite("hypervisor-qemu vm");

function processOf(grant: VmGrant) {
  if (!grant.process) throw new Error("a grant without a process");
  return grant.process;
}

s.test("a VM runs, pauses, resumes and ends, and leaves its run directory empty", async () => {
  await using w = await world();
  const grant = await w.hypervisor.holdings.vm.acquire(w.intent, call());
  assert.is(grant.accelerator, "tcg");
  assert.equal(grant.agentEndpoint, { kind: "serial", path: join(w.intent.runDirectory, "agent.sock") });
  const vm = await w.hypervisor.connect(grant, call());
  assert.is(await vm.status(call()), "running");
  await vm.pause(call());
  assert.is(await vm.status(call()), "paused");
  await vm.resume(call());
  assert.is(await vm.status(call()), "running");
  await until(async () => (await vm.diagnostics()).console.includes("READY"));
  await w.hypervisor.holdings.vm.release({ intent: w.intent, grant }, call());
  assert.equal(await vm.exited, { exitCode: 0, signal: null, expected: true });
  assert.is(await vm.status(call()), "ended");
  assert.equal(await readdir(w.intent.runDirectory), []);
  assert.equal(await processesOf(w.intent), []);
});

s.test("release() is idempotent, and success when the VM never was", async () => {
  await using w = await world();
  await w.hypervisor.holdings.vm.release({ intent: w.intent, grant: undefined }, call());
  const grant = await w.hypervisor.holdings.vm.acquire(w.intent, call());
  for (let n = 0; n < 2; n++) await w.hypervisor.holdings.vm.release({ intent: w.intent, grant }, call());
  assert.equal(await processesOf(w.intent), []);
});

s.test("release() without a grant finds the VM by its mark", async () => {
  await using w = await world();
  const grant = await w.hypervisor.holdings.vm.acquire(w.intent, call());
  await w.hypervisor.holdings.vm.release({ intent: w.intent, grant: undefined }, call());
  assert.not.ok(await isAlive(processOf(grant)));
});

s.test("release() ends a QEMU that is stopped and answers nothing", async () => {
  await using w = await world();
  const grant = await w.hypervisor.holdings.vm.acquire(w.intent, call());
  const vm = await w.hypervisor.connect(grant, call());
  process.kill(processOf(grant).pid, "SIGSTOP");
  await w.hypervisor.holdings.vm.release({ intent: w.intent, grant }, call());
  assert.equal(await vm.exited, { exitCode: null, signal: "SIGKILL", expected: true });
  assert.equal(await processesOf(w.intent), []);
});

s.test("release() leaves no zombie", async () => {
  await using w = await world();
  const grant = await w.hypervisor.holdings.vm.acquire(w.intent, call());
  await w.hypervisor.holdings.vm.release({ intent: w.intent, grant }, call());
  await until(async () => !(await stat(`/proc/${processOf(grant).pid}`).catch(() => undefined)));
});

s.test("release() does not touch a process that has the VM's pid and another start time", async () => {
  await using w = await world();
  const grant = await w.hypervisor.holdings.vm.acquire(w.intent, call());
  const stranger = { ...processOf(grant), startTime: "1" };
  // Known by its nonce in this process, so another nonce is needed to reach the path of a later process.
  const intent = { ...w.intent, nonce: "0123456789abcdef", runDirectory: w.directory };
  await w.hypervisor.holdings.vm.release({ intent, grant: { ...grant, process: stranger } }, call());
  assert.ok(await isAlive(processOf(grant)));
});

s.test("when QEMU is killed, exited says so and waiting commands are rejected", async () => {
  await using w = await world();
  const grant = await w.hypervisor.holdings.vm.acquire(w.intent, call());
  const vm = await w.hypervisor.connect(grant, call());
  await using lease = await leaseMachine(grant);
  process.kill(processOf(grant).pid, "SIGSTOP");
  const waiting = refusal(lease.machine.execute("query-pci"));
  process.kill(processOf(grant).pid, "SIGKILL");
  const error = await waiting;
  assert.is(error.code === "VM_COMMAND_FAILED" && error.data.class, "Disconnected");
  assert.equal(await vm.exited, { exitCode: null, signal: "SIGKILL", expected: false });
  assert.is((await refusal(w.hypervisor.connect(grant, call()))).code, "VM_FAILED");
});

s.test("a guest that resets ends the VM, unexpectedly, and its last words are kept", async () => {
  await using w = await world(resettingKernel("Kernel panic - not syncing: \x1b[31mtest\n"));
  const grant = await w.hypervisor.holdings.vm.acquire(w.intent, call());
  const vm = await w.hypervisor.connect(grant, call());
  assert.equal(await vm.exited, { exitCode: 0, signal: null, expected: false });
  await until(async () => (await vm.diagnostics()).console === "Kernel panic - not syncing: \\x1b[31mtest");
});

s.test("a QEMU that refuses to start fails with its own words and leaves nothing", async () => {
  await using w = await world();
  const intent = { ...w.intent, boot: { ...w.intent.boot, image: join(w.directory, "no-image") } };
  const error = await refusal(w.hypervisor.holdings.vm.acquire(intent, call()));
  assert.is(error.code, "VM_FAILED");
  assert.match(error.message, /QEMU ended with exit code 1[\s\S]*no-image[\s\S]*No such file/);
  assert.equal(await readdir(intent.runDirectory), []);
  assert.equal(await processesOf(intent), []);
});

s.test("acquire() given up half-way leaves nothing", async () => {
  await using w = await world();
  for (const afterMs of [0, 5, 15, 30]) {
    const giveUp = AbortSignal.timeout(afterMs);
    const outcome = await w.hypervisor.holdings.vm.acquire(w.intent, { ...call(), signal: giveUp }).catch((error: unknown) => error);
    if (isTapvisorError(outcome)) assert.is(outcome.code, "ABORTED");
    else await w.hypervisor.holdings.vm.release({ intent: w.intent, grant: undefined }, call());
    assert.equal(await processesOf(w.intent), [], `given up after ${afterMs} ms`);
    assert.equal(await readdir(w.intent.runDirectory), []);
  }
});

s.test("no such QEMU is HOST_MISSING with the package's name", async () => {
  await using w = await world();
  const hypervisor = await qemu({ binary: "qemu-system-none" });
  const error = await refusal(hypervisor.holdings.vm.acquire(w.intent, call()));
  assert.is(error.code, "HOST_MISSING");
  assert.match(error.hint ?? "", /apt-get install qemu-system-x86/);
});

s.test("more memory than the host has is HOST_LIMIT", async () => {
  await using w = await world(haltingKernel(), { memoryBytes: (2 ** 52) as never });
  assert.is((await refusal(w.hypervisor.holdings.vm.acquire(w.intent, call()))).code, "HOST_LIMIT");
});

s.test("a console flood fills two bounded files and no more", async () => {
  await using w = await world(floodingKernel());
  const grant = await w.hypervisor.holdings.vm.acquire(w.intent, call());
  const log = join(w.intent.runDirectory, "console.log");
  const size = (file: string) =>
    stat(file).then(
      (found) => found.size,
      () => 0,
    );
  let rotations = 0;
  let seen = 0;
  await until(async () => {
    const { ino } = await stat(`${log}.1`).catch(() => ({ ino: 0 }));
    if (ino !== seen) rotations += 1;
    seen = ino;
    assert.ok((await size(log)) <= LOG_BYTES);
    assert.ok((await size(`${log}.1`)) <= LOG_BYTES);
    return rotations >= 3;
  });
  const vm = await w.hypervisor.connect(grant, call());
  assert.match((await vm.diagnostics()).console, /^A{1000}/);
});

s.test("another connection adopts the VM, and hears of its end without being its parent", async () => {
  await using w = await world(haltingKernel(), { detached: true });
  const { vm: grant } = await startElsewhere(w);
  const vm = await w.hypervisor.connect(grant, call());
  assert.is(await vm.status(call()), "running");
  process.kill(processOf(grant).pid, "SIGKILL");
  assert.equal(await vm.exited, { exitCode: null, signal: null, expected: false });
});

s.test("an adopted VM can be let go of and adopted again", async () => {
  await using w = await world(haltingKernel(), { detached: true });
  const { vm: grant } = await startElsewhere(w);
  for (let n = 0; n < 3; n++) {
    const vm = await w.hypervisor.connect(grant, call());
    assert.is(await vm.status(call()), "running");
    await vm.disconnect();
  }
  assert.ok(await isAlive(processOf(grant)));
  await w.hypervisor.holdings.vm.release({ intent: w.intent, grant }, call());
  assert.not.ok(await isAlive(processOf(grant)));
  assert.equal(await processesOf(w.intent), []);
});

s.test("QEMU's command line carries the mark and the process is the granted one", async () => {
  await using w = await world();
  const grant = await w.hypervisor.holdings.vm.acquire(w.intent, call());
  const { pid } = processOf(grant);
  assert.equal(await identifyProcess(pid), grant.process);
  const commandLine = await readFile(`/proc/${pid}/cmdline`, "utf8");
  assert.match(commandLine, /^[^\0]*qemu-system-x86_64\0/);
  assert.ok(commandLine.includes(`tapvisor-vm:${w.intent.nonce}`));
});

s.run();
