import { readdir, readFile, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Agent, type Hypervisor, onceAborted, type Vm, type VmGrant, type VmIntent, type VmMemory } from "tapvisor/plugin";
import { agentFake } from "tapvisor/plugins/agent-fake";
import { hypervisorFake } from "tapvisor/plugins/hypervisor-fake";
import { quietCall } from "tapvisor/testing";
import * as assert from "uvu/assert";
import { fakeGuest, providerOf } from "../../support/fake-guest.ts";
import { rejects } from "../../support/rejects.ts";
import { suite } from "../../support/suite.ts";

const s = suite("hypervisor-fake saved VMs");
const DISK = { id: "data", format: "raw", readonly: false, driver: "virtio-blk", index: 0 } as const;

/** A VM in which a container counts how often it was told to, and the places for its files. */
async function counting(kind: "template" | "plain" = "plain") {
  const w = await fakeGuest("other");
  const directory = join(w.rootfs, "..");
  const at = (name: string) => join(directory, name);
  w.world.programs.count = async ({ memory, write, stdin, signal }) => {
    memory.count ??= 0;
    await write(`from ${memory.count}\n`);
    for await (const _ of stdin) memory.count = (memory.count as number) + 1;
    await onceAborted(signal);
    return 0;
  };
  const intentOf = (sandbox: string, memory?: VmMemory): VmIntent => ({ ...w.vmIntent(sandbox), ...(memory && { memory }) });
  await writeFile(at("memory"), "");
  await truncate(at("memory"), intentOf("web").memoryBytes);
  await writeFile(at("data.img"), "data");
  const intent = intentOf("web", kind === "template" ? { kind: "template", file: at("memory") } : undefined);
  const grant = await w.hypervisor.holdings.vm.acquire(intent, quietCall());
  const vm = await w.hypervisor.connect(grant, quietCall());
  return { ...w, at, directory, intentOf, intent, grant, vm, state: at("state") };
}

const start = async ({ holdings, connect }: Hypervisor, intent: VmIntent): Promise<[VmGrant, Vm]> => {
  const grant = await holdings.vm.acquire(intent, quietCall());
  return [grant, await connect(grant, quietCall())];
};

const agentOf = (w: { agent: Agent; directory: string }, { sandbox, agentEndpoint: endpoint }: VmGrant) =>
  w.agent.connect({ sandbox, endpoint, runDirectory: w.directory }, quietCall());

for (const kind of ["clone", "copy"] as const) {
  s.test(`a ${kind} goes on from its template, each by itself`, async () => {
    await using w = await counting("template");
    const before = await agentOf(w, w.grant);
    await before.createSandbox({ sandbox: "web", hostname: "web", storages: [] }, quietCall());
    await w.vm.save?.(w.state, quietCall());
    assert.is(await w.vm.status(quietCall()), "paused");
    assert.is((await stat(w.state)).mode & 0o777, 0o600);
    await w.hypervisor.holdings.vm.release({ intent: w.intent, grant: w.grant }, quietCall());
    const from = { file: w.at("memory"), state: w.state };
    const memoryOf = (name: string): VmMemory => (kind === "copy" ? { kind, ...from, copy: w.at(name) } : { kind, ...from });
    for (const name of ["one", "two"]) {
      const [grant, vm] = await start(w.hypervisor, w.intentOf(name, memoryOf(name)));
      assert.is(await vm.status(quietCall()), "running");
      const client = await agentOf(w, grant);
      assert.is(w.world.vm(name)?.guest.sandbox?.hostname, "web");
      await client.destroySandbox(quietCall());
      const shared = w.hypervisor.holdings.share.acquire(w.shareIntent(grant, "files"), quietCall());
      if (kind === "copy") await shared;
      else await rejects(shared, "UNSUPPORTED");
    }
    assert.equal((await readdir(w.directory)).sort(), ["data.img", "memory", "rootfs", "state"]);
  });
}

s.test(
  "what goes on from a snapshot has the saved one's size, disks, containers, files and processes, which begin again with what they kept",
  async () => {
    await using w = await counting();
    const { disk } = w.hypervisor.holdings;
    if (!disk) throw new Error("the fake plugs disks");
    const spare = { ...DISK, id: "spare", index: 1, path: w.rootfs, sandbox: "web", vm: w.grant };
    await writeFile(w.at("spare.img"), "spare");
    await disk.acquire({ ...spare, path: w.at("spare.img") }, quietCall());
    const { guest } = await disk.acquire({ ...DISK, path: w.at("data.img"), sandbox: "web", vm: w.grant }, quietCall());
    await disk.release({ intent: { ...spare, path: w.at("spare.img") }, grant: undefined }, quietCall());
    const client = await agentOf(w, w.grant);
    await client.createSandbox({ sandbox: "web", hostname: "web", storages: [] }, quietCall());
    const mount = { driver: guest.driver, source: guest.address, fstype: "ext4", options: [], mountPoint: "/run/disk" };
    const spec = {
      ociVersion: "1.1.0",
      root: { path: "/run/disk", readonly: false },
      process: { terminal: false, user: { uid: 0, gid: 0 }, args: ["count"], env: [], cwd: "/", noNewPrivileges: true },
      mounts: [],
      linux: { namespaces: [{ type: "mount" }], maskedPaths: [], readonlyPaths: [] },
    } as const;
    await client.createContainer({ container: "c1", storages: [mount], spec }, quietCall());
    await client.startContainer("c1", quietCall());
    const c1 = { container: "c1", exec: "c1" };
    assert.is(Buffer.from(await client.readStdout(c1, 100, quietCall())).toString(), "from 0\n");
    for (let time = 0; time < 3; time++) await client.writeStdin(c1, Buffer.from("x"), quietCall());
    const process = w.world.vm("web")?.guest.containers.get("c1")?.process;
    while (process?.memory.count === 0) await new Promise(setImmediate);
    const counted = process?.memory.count;

    await w.vm.snapshot?.(w.state, quietCall());
    assert.is(await w.vm.status(quietCall()), "paused");
    await writeFile(w.at("copy.img"), "data");
    const plugged = {
      size: { vcpus: w.intent.vcpus, memoryBytes: w.intent.memoryBytes },
      disks: [{ ...DISK, sandbox: "again", path: w.at("copy.img") }],
    };
    const intent = { ...w.intentOf("again", { kind: "snapshot", state: w.state }), plugged };
    const [grant] = await start(w.hypervisor, intent);
    const again = await agentOf(w, grant);
    assert.is(Buffer.from(await again.readStdout(c1, 100, quietCall())).toString(), `from ${counted}\n`);
    const [one, two] = w.world.snapshot().vms.filter(({ sandbox }) => ["again", "web"].includes(sandbox));
    assert.equal(one?.guest, two?.guest);
    assert.equal(
      one?.disks,
      two?.disks.map((each) => ({ ...each, path: w.at("copy.img") })),
      "at the same place",
    );
    await again.removeContainer("c1", quietCall());
    assert.is(w.world.vm("web")?.guest.containers.get("c1")?.process.state, "running");
    await rejects(
      w.hypervisor.holdings.vm.acquire({ ...intent, sandbox: "less", plugged: { ...plugged, disks: [] } }, quietCall()),
      "INVALID_INPUT",
    );
  },
);

s.test(
  "another engine on the world goes on from it; a state that is damaged, gone or of the other kind is refused, and leaves nothing",
  async () => {
    await using w = await counting();
    await w.vm.snapshot?.(w.state, quietCall());
    const elsewhere = await providerOf<Hypervisor>(hypervisorFake({ world: w.world }), "hypervisor", "fake");
    await providerOf<Agent>(agentFake({ world: w.world }), "agent", "fake");
    await start(elsewhere, w.intentOf("again", { kind: "snapshot", state: w.state }));
    const before = w.world.snapshot();
    const acquire = (memory: VmMemory, amend: Partial<VmIntent> = {}) =>
      elsewhere.holdings.vm.acquire({ ...w.intentOf("more", memory), ...amend }, quietCall());
    const { vcpus } = w.intent;
    await rejects(acquire({ kind: "clone", file: w.at("memory"), state: w.state }), "VM_FAILED");
    await rejects(acquire({ kind: "snapshot", state: w.state }, { vcpus: vcpus + 1 }), "VM_FAILED");
    await rejects(acquire({ kind: "snapshot", state: w.at("none") }), "INVALID_INPUT");
    await rejects(acquire({ kind: "clone", file: w.at("data.img"), state: w.state }), "INVALID_INPUT");
    await truncate(w.state, (await readFile(w.state)).length - 1);
    await rejects(acquire({ kind: "snapshot", state: w.state }), "VM_FAILED");
    assert.equal(w.world.snapshot(), before);
  },
);

s.test("what cannot be saved is refused, and the VM runs on", async () => {
  await using w = await counting();
  await rejects(w.vm.save?.(w.state, quietCall()) ?? Promise.resolve(), "INVALID_STATE");
  await w.hypervisor.holdings.share.acquire(w.shareIntent(w.grant, "files"), quietCall());
  await rejects(w.vm.snapshot?.(w.state, quietCall()) ?? Promise.resolve(), "UNSUPPORTED");
  await w.hypervisor.holdings.share.release({ intent: w.shareIntent(w.grant, "files"), grant: undefined }, quietCall());
  await rejects(w.vm.snapshot?.(w.at("nowhere/state"), quietCall()) ?? Promise.resolve(), "STATE_IO");
  assert.is(await w.vm.status(quietCall()), "running");
});

for (const when of ["before", "after"] as const) {
  s.test(`a fault ${when} a snapshot leaves no file and a VM that runs`, async () => {
    await using w = await counting();
    w.world.failNext("hypervisor.snapshot", { when });
    await rejects(w.vm.snapshot?.(w.state, quietCall()) ?? Promise.resolve(), "VM_COMMAND_FAILED");
    assert.is(await w.vm.status(quietCall()), "running");
    assert.not.ok((await readdir(w.directory)).includes("state"));
    await w.vm.snapshot?.(w.state, quietCall());
  });
}

s.test("without the capabilities there is neither save nor snapshot nor fingerprint, and no such VM starts", async () => {
  await using w = await counting();
  await w.vm.snapshot?.(w.state, quietCall());
  const bare = await providerOf<Hypervisor>(hypervisorFake({ world: w.world, templates: false, snapshots: false }), "hypervisor", "fake");
  assert.equal([bare.capabilities.templates, bare.capabilities.snapshots, bare.fingerprint], [false, false, undefined]);
  await rejects(bare.holdings.vm.acquire(w.intentOf("again", { kind: "snapshot", state: w.state }), quietCall()), "UNSUPPORTED");
  const vm = await bare.connect(w.grant, quietCall());
  assert.equal([vm.save, vm.snapshot], [undefined, undefined]);
  assert.equal(await w.hypervisor.fingerprint?.(quietCall()), w.world.fingerprint);
});

s.run();
