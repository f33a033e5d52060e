import { type Bytes, type Hypervisor, MiB, TapvisorError } from "tapvisor/plugin";
import { hypervisorFake } from "tapvisor/plugins/hypervisor-fake";
import { quietCall } from "tapvisor/testing";
import * as assert from "uvu/assert";
import { fakeWorld, providerOf } from "../../support/fake-guest.ts";
import { rejects } from "../../support/rejects.ts";
import { suite } from "../../support/suite.ts";
import { BOOT, growingGuest, LIMITS } from "../../testing/support/growing-guest.ts";

const s = suite("hypervisor-fake sizing");

const bytes = (mib: number) => (mib * MiB) as Bytes;
const settled = () => new Promise((resolve) => setImmediate(resolve));

s.test("a guest runs on new vCPUs when its agent brings them online, and a shrink leaves them plugged for it to park", async () => {
  await using w = await growingGuest();
  const sizes = () => [w.snapshot().vcpus, w.snapshot().onlineVcpus];
  assert.equal(await w.sizing.resizeVcpus(3, quietCall()), { reached: 3 });
  assert.equal(sizes(), [3, 1]);
  await w.client.syncResources({ vcpus: 3 }, quietCall());
  assert.equal(sizes(), [3, 3]);
  assert.equal(await w.sizing.resizeVcpus(1, quietCall()), { reached: 3 }, "no shortfall: nothing went wrong");
  await w.client.syncResources({ vcpus: 1 }, quietCall());
  assert.equal(sizes(), [3, 1]);
});

s.test("with `unplug` a vCPU goes, and the guest runs on one less", async () => {
  await using w = await growingGuest({ vcpuRemoval: "unplug" });
  await w.sizing.resizeVcpus(3, quietCall());
  await w.client.syncResources({ vcpus: 3 }, quietCall());
  assert.equal(await w.sizing.resizeVcpus(2, quietCall()), { reached: 2 });
  assert.equal([w.snapshot().vcpus, w.snapshot().onlineVcpus], [2, 2]);
  w.world.keepVcpus("web", 2);
  assert.equal(await w.sizing.resizeVcpus(1, quietCall()), { reached: 2, shortfall: "the guest keeps 2 vCPUs" });
});

s.test("a guest that goes along half-way leaves a resize short of its target, with the reason, and what it had stays", async () => {
  await using w = await growingGuest();
  w.world.limitVcpus("web", 2);
  assert.equal(await w.sizing.resizeVcpus(4, quietCall()), { reached: 2, shortfall: "the guest takes 2 vCPUs" });
  w.world.limitMemory("web", bytes(384));
  assert.equal(await w.sizing.resizeMemory(bytes(512), quietCall()), { reached: bytes(384), shortfall: "the guest takes 384MiB" });
  w.world.limitMemory("web", bytes(128));
  assert.equal(await w.sizing.resizeMemory(bytes(512), quietCall()), { reached: bytes(384), shortfall: "the guest takes 384MiB" });
  w.world.keepMemory("web", bytes(300));
  assert.equal(await w.sizing.resizeMemory(bytes(256), quietCall()), { reached: bytes(300), shortfall: "the guest keeps 300MiB" });
  w.world.keepMemory("web", bytes(800));
  assert.equal((await w.sizing.resizeMemory(bytes(256), quietCall())).reached, bytes(300));
  assert.equal([w.snapshot().vcpus, w.snapshot().memoryBytes], [2, bytes(300)]);
});

s.test("a target below what the VM booted with ends there; one above its limit is VM_LIMIT, with both numbers", async () => {
  await using w = await growingGuest();
  assert.equal(await w.sizing.resizeMemory(bytes(128), quietCall()), {
    reached: BOOT.memoryBytes,
    shortfall: "the VM booted with 256MiB",
  });
  const error = await rejects(w.sizing.resizeVcpus(5, quietCall()), "VM_LIMIT");
  assert.equal(error.data, { what: "vcpus", wanted: 5, available: 4 });
  assert.match(error.message, "it booted with 1 vCPUs and may have 4 vCPUs");
  assert.equal((await rejects(w.sizing.resizeMemory(bytes(2048), quietCall()), "VM_LIMIT")).data.available, LIMITS.memoryBytes);
  assert.equal(await w.sizing.size(quietCall()), BOOT);
});

s.test("a VM without limits stays as it is", async () => {
  await using w = await fakeWorld();
  const { sizing } = await w.hypervisor.connect(await w.startVm("web"), quietCall());
  assert.equal(await sizing?.resizeVcpus(1, quietCall()), { reached: 1 });
  await rejects(Promise.resolve(sizing?.resizeVcpus(2, quietCall())), "VM_LIMIT");
});

s.test("limits below what a VM boots with are VM_FAILED", async () => {
  await using w = await fakeWorld();
  const intent = { ...w.vmIntent("web"), limits: { vcpus: 1, memoryBytes: bytes(128) } };
  assert.match((await rejects(w.hypervisor.holdings.vm.acquire(intent, quietCall()), "VM_FAILED")).message, "limits");
});

for (const when of ["before", "after"] as const) {
  s.test(
    `a resize of memory that hangs ${when} its effect resolves with what it reached for a shrink, and rejects for a growth`,
    async () => {
      await using w = await growingGuest();
      await w.sizing.resizeMemory(bytes(512), quietCall());
      const given = async (target: Bytes) => {
        const caller = new AbortController();
        w.world.failNext("hypervisor.resizeMemory", { when, hang: true });
        const resizing = w.sizing.resizeMemory(target, quietCall({ signal: caller.signal }));
        resizing.catch(() => {});
        await settled();
        caller.abort();
        return resizing;
      };
      const shortfall = "the guest had not given it back when the caller gave up";
      assert.equal(await given(bytes(256)), when === "before" ? { reached: bytes(512), shortfall } : { reached: bytes(256) });
      await rejects(given(bytes(768)), "ABORTED");
      assert.is(w.snapshot().memoryBytes, bytes(when === "before" ? 512 : 768));
      const outcomes = w.world.calls.filter(({ operation }) => operation === "hypervisor.resizeMemory").map(({ outcome }) => outcome);
      assert.equal(outcomes, ["done", "done", "failed"]);
    },
  );
}

s.test("a shrink whose signal had fired before it began is ABORTED: nothing was asked of the guest", async () => {
  await using w = await growingGuest();
  await w.sizing.resizeMemory(bytes(512), quietCall());
  await rejects(w.sizing.resizeMemory(bytes(256), quietCall({ signal: AbortSignal.abort() })), "ABORTED");
  assert.is(w.snapshot().memoryBytes, bytes(512));
});

s.test("a shrink that fails, and was not given up, is an error whatever its code", async () => {
  await using w = await growingGuest();
  await w.sizing.resizeMemory(bytes(512), quietCall());
  w.world.failNext("hypervisor.resizeMemory", { when: "before" });
  await rejects(w.sizing.resizeMemory(bytes(256), quietCall()), "VM_COMMAND_FAILED");
  w.world.failNext("hypervisor.resizeMemory", { when: "before", error: new TapvisorError("ABORTED", "no", { data: { what: "x" } }) });
  await rejects(w.sizing.resizeMemory(bytes(256), quietCall()), "ABORTED");
});

s.test("memory does not move while the guest is paused: a growth goes on when it is resumed, and ends with the VM", async () => {
  await using w = await growingGuest();
  await w.view.pause(quietCall());
  let grown = false;
  const growing = w.sizing.resizeMemory(bytes(512), quietCall()).then((resized) => {
    grown = true;
    return resized;
  });
  await settled();
  assert.not(grown);
  await w.view.resume(quietCall());
  assert.equal(await growing, { reached: bytes(512) });
  await w.view.pause(quietCall());
  const shrinking = w.sizing.resizeMemory(bytes(256), quietCall());
  w.world.killVm("web");
  await rejects(shrinking, "VM_FAILED");
});

s.test("each capability can be taken away, and with it what it stands for", async () => {
  await using w = await fakeWorld();
  const { world } = w;
  const none = { pause: false, shareHotplug: false, resize: false, templates: false, snapshots: false };
  const plugin = hypervisorFake({ world, ...none, diskDrivers: [] });
  const bare = await providerOf<Hypervisor>(plugin, "hypervisor", "fake");
  assert.equal(bare.capabilities, none);
  assert.equal(Object.keys(bare.holdings), ["vm"]);
  const view = await bare.connect(await bare.holdings.vm.acquire(w.vmIntent("web"), quietCall()), quietCall());
  assert.is(view.sizing, undefined);
  await rejects(view.pause(quietCall()), "UNSUPPORTED");
  const one = await providerOf<Hypervisor>(hypervisorFake({ world, diskDrivers: ["virtio-blk"] }), "hypervisor", "fake");
  assert.equal(one.capabilities.diskDrivers, ["virtio-blk"]);
});

s.test("the planner says what a change would be, and nothing for none", async () => {
  await using w = await growingGuest();
  const { planner } = w.hypervisor;
  assert.equal(planner?.resize(BOOT, BOOT, LIMITS), []);
  assert.equal(planner?.resize(BOOT, { ...BOOT, vcpus: 2 }, LIMITS), [{ command: "resize-vcpus", arguments: { from: 1, to: 2 } }]);
  assert.equal(
    planner?.resize(LIMITS, BOOT, LIMITS).map(({ command }) => command),
    ["resize-vcpus", "resize-memory"],
  );
  const [plug] = planner?.disk(await w.diskIntent("data", { index: 2 })) ?? [];
  assert.equal([plug?.command, plug?.arguments.id, plug?.arguments.index], ["plug-disk", "data", 2]);
  assert.equal(planner?.share(w.shareIntent(w.vm, "files")), [{ command: "plug-share", arguments: { id: "files", entries: ["rootfs"] } }]);
  assert.equal(w.snapshot().disks, []);
});

s.run();
