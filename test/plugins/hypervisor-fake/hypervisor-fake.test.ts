import { join } from "node:path";
import { quietCall } from "tapvisor/testing";
import * as assert from "uvu/assert";
import { fakeGuest, fakeWorld } from "../../support/fake-guest.ts";
import { rejects } from "../../support/rejects.ts";
import { suite } from "../../support/suite.ts";

const s = suite("hypervisor-fake");

s.test("a VM and a share that were acquired and released leave the world as it was", async () => {
  await using w = await fakeWorld();
  const before = w.world.snapshot();
  const vm = await w.startVm("web");
  assert.equal(vm.agentEndpoint, { kind: "memory", sandbox: "web" });
  const intent = w.shareIntent(vm, "files");
  const grant = await w.hypervisor.holdings.share.acquire(intent, quietCall());
  assert.equal(w.world.snapshot().vms[0]?.shares, [{ id: "files", entries: intent.entries }]);
  await w.hypervisor.holdings.share.release({ intent, grant }, quietCall());
  assert.equal(w.world.snapshot().vms[0]?.shares, []);
  await w.hypervisor.holdings.vm.release({ intent: w.vmIntent("web"), grant: vm }, quietCall());
  assert.equal(w.world.snapshot(), before);
});

s.test("release works without a grant, twice, when nothing was acquired, and with a dead VM", async () => {
  await using w = await fakeWorld();
  const { vm, share } = w.hypervisor.holdings;
  const intent = w.vmIntent("web");
  await vm.release({ intent, grant: undefined }, quietCall());
  const grant = await w.startVm("web");
  const shareIntent = w.shareIntent(grant, "files");
  await share.release({ intent: shareIntent, grant: undefined }, quietCall());
  await share.acquire(shareIntent, quietCall());
  w.world.killVm("web");
  for (let twice = 0; twice < 2; twice++) await share.release({ intent: shareIntent, grant: undefined }, quietCall());
  assert.is(w.world.snapshot().vms[0]?.state, "ended", "a dead VM is held until it is released");
  for (let twice = 0; twice < 2; twice++) await vm.release({ intent, grant: undefined }, quietCall());
  assert.equal(w.world.snapshot().vms, []);
});

s.test("release never touches a later VM of the same sandbox", async () => {
  await using w = await fakeWorld();
  const old = w.vmIntent("web");
  const later = await w.hypervisor.holdings.vm.acquire({ ...old, nonce: "another-nonce-0123456789" }, quietCall());
  const share = w.shareIntent(later, "files");
  await w.hypervisor.holdings.share.acquire(share, quietCall());
  const before = w.world.snapshot();
  await w.hypervisor.holdings.share.release({ intent: { ...share, vm: { ...later, nonce: old.nonce } }, grant: undefined }, quietCall());
  await w.hypervisor.holdings.vm.release({ intent: old, grant: undefined }, quietCall());
  assert.equal(w.world.snapshot(), before);
});

s.test("a second VM of a sandbox that was not released is VM_FAILED", async () => {
  await using w = await fakeWorld();
  await w.startVm("web");
  await rejects(w.startVm("web"), "VM_FAILED");
  w.world.killVm("web");
  await rejects(w.startVm("web"), "VM_FAILED");
});

for (const wrong of [{ vcpus: 0 }, { vcpus: 1.5 }, { memoryBytes: -1 as never }, { runDirectory: "relative" }, { nonce: "short" }]) {
  s.test(`a VM with ${JSON.stringify(wrong)} is VM_FAILED and leaves nothing`, async () => {
    await using w = await fakeWorld();
    const error = await rejects(w.hypervisor.holdings.vm.acquire({ ...w.vmIntent("web"), ...wrong }, quietCall()), "VM_FAILED");
    assert.match(error.message, Object.keys(wrong)[0] as string);
    assert.equal(w.world.snapshot().vms, []);
  });
}

s.test("a share is refused with a taken or too long tag, a source that is missing or of the wrong type, and a dead VM", async () => {
  await using w = await fakeWorld();
  const vm = await w.startVm("web");
  const { share } = w.hypervisor.holdings;
  await share.acquire(w.shareIntent(vm, "files"), quietCall());
  await rejects(share.acquire(w.shareIntent(vm, "files"), quietCall()), "VM_COMMAND_FAILED");
  await rejects(share.acquire(w.shareIntent(vm, "x".repeat(32)), quietCall()), "VM_COMMAND_FAILED");
  for (const entry of [
    { name: "a", source: join(w.rootfs, "missing"), type: "directory", readonly: true },
    { name: "a", source: w.rootfs, type: "file", readonly: true },
    { name: "a/b", source: w.rootfs, type: "directory", readonly: true },
    { name: "a", source: "relative", type: "directory", readonly: true },
  ] as const) {
    await rejects(share.acquire({ ...w.shareIntent(vm, "other"), entries: [entry] }, quietCall()), "VM_COMMAND_FAILED");
  }
  assert.is(w.world.snapshot().vms[0]?.shares.length, 1);
  w.world.killVm("web");
  await rejects(share.acquire(w.shareIntent(vm, "late"), quietCall()), "VM_FAILED");
});

s.test("connect() shows the VM; pause, resume and the end are seen; a disconnected view cannot act", async () => {
  await using w = await fakeWorld();
  const grant = await w.startVm("web");
  const vm = await w.hypervisor.connect(grant, quietCall());
  assert.is(w.world.snapshot().vms[0]?.views, 1);
  const states = [await vm.status(quietCall())];
  await vm.pause(quietCall());
  await vm.pause(quietCall());
  states.push(await vm.status(quietCall()));
  await vm.resume(quietCall());
  states.push(await vm.status(quietCall()));
  const found = w.world.vm("web");
  assert.ok(found);
  found.console = "Kernel panic";
  assert.equal(await vm.diagnostics(), { console: "Kernel panic", stderr: "" });
  w.world.killVm("web");
  states.push(await vm.status(quietCall()));
  assert.equal(states, ["running", "paused", "running", "ended"]);
  assert.equal(await vm.exited, { exitCode: null, signal: "SIGKILL", expected: false });
  await rejects(vm.pause(quietCall()), "VM_FAILED");
  await vm.disconnect();
  await vm.disconnect();
  await rejects(vm.resume(quietCall()), "VM_FAILED");
  assert.is(w.world.snapshot().vms[0]?.views, 0);
  await rejects(w.hypervisor.connect(grant, quietCall()), "VM_FAILED");
});

s.test("an asked end is expected", async () => {
  await using w = await fakeWorld();
  const vm = await w.hypervisor.connect(await w.startVm("web"), quietCall());
  await w.hypervisor.holdings.vm.release({ intent: w.vmIntent("web"), grant: undefined }, quietCall());
  assert.equal(await vm.exited, { exitCode: 0, signal: null, expected: true });
});

s.test("the death of the script ends its VMs but for detached ones, whose containers go on", async () => {
  await using w = await fakeGuest("kept");
  await w.hypervisor.holdings.vm.release({ intent: w.vmIntent("kept"), grant: undefined }, quietCall());
  const vm = await w.hypervisor.holdings.vm.acquire({ ...w.vmIntent("kept"), detached: true }, quietCall());
  const client = await w.agent.connect(w.target, quietCall());
  await client.createSandbox({ sandbox: "kept", hostname: "kept", storages: [] }, quietCall());
  await w.startVm("attached");
  await w.hypervisor.connect(vm, quietCall());
  w.world.killScript();
  const [attached, kept] = w.world.snapshot().vms;
  assert.equal([attached?.state, kept?.state, kept?.views, kept?.agentConnections], ["ended", "running", 0, 0]);
  assert.is((await client.lost)?.message.includes("script"), true);
  const again = await w.agent.connect(w.target, quietCall());
  await rejects(again.createSandbox({ sandbox: "kept", hostname: "kept", storages: [] }, quietCall()), "AGENT_FAILED");
});

s.run();
