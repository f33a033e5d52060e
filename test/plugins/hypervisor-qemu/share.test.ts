import { existsSync } from "node:fs";
import { readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { isAlive, type VmGrant } from "tapvisor/plugin";
import * as assert from "uvu/assert";
import { leaseMachine } from "../../../plugins/hypervisor-qemu/machines.ts";
import { resolveOptions } from "../../../plugins/hypervisor-qemu/options.ts";
import { PCI_SLOTS } from "../../../plugins/hypervisor-qemu/pci-slots.ts";
import { checkEntries } from "../../../plugins/hypervisor-qemu/share-entries.ts";
import { startShareServer } from "../../../plugins/hypervisor-qemu/share-server.ts";
import { suite } from "../../support/suite.ts";
import { haltingKernel, unpluggingKernel } from "./support/real-mode-kernel.ts";
import { refusal } from "./support/refusal.ts";
import { call, processesOf, qemu, shareIntent, shares, type World, world } from "./support/world.ts";

const s = suite("hypervisor-qemu share");
const isRoot = process.geteuid?.() === 0;
const test: typeof s.test = isRoot ? s.test : (title) => s.skip(title, "shares need root");

/** All that a share could leave: QEMU's devices and character devices, processes, the host's mounts. */
async function whole(w: World, vm: VmGrant) {
  await using lease = await leaseMachine(vm);
  const names = async (command: string, args: Record<string, unknown>, key: string) => {
    const list = (await lease.machine.execute(command, args)) as readonly Record<string, string>[];
    return list.map((item) => item[key]).sort();
  };
  return {
    devices: await names("qom-list", { path: "/machine/peripheral" }, "name"),
    chardevs: await names("query-chardev", {}, "label"),
    // The VM's own log processes are still starting when it already runs.
    processes: (await processesOf(w.intent)).filter((line) => !line.includes("tapvisor-vm-log:")).sort(),
    mounts: (await readFile("/proc/self/mountinfo", "utf8")).includes("tapvisor"),
  };
}

test("20 shares plugged and unplugged leave devices, chardevs, processes and mounts as before", async () => {
  await using w = await world(unpluggingKernel());
  const vm = await w.hypervisor.holdings.vm.acquire(w.intent, call());
  const before = await whole(w, vm);
  for (let n = 0; n < 20; n++) {
    const intent = await shareIntent(w.directory, vm);
    const grant = await shares(w.hypervisor).acquire(intent, call());
    assert.equal(grant.guest, { fstype: "virtiofs", source: "web", driver: "virtio-fs" });
    if (n === 0) {
      const during = await whole(w, vm);
      assert.ok(during.devices.includes("share-web"));
      assert.not.ok(during.mounts, "the host sees no mount");
    }
    await shares(w.hypervisor).release({ intent, grant }, call());
    assert.not.ok(existsSync(intent.directory));
  }
  assert.equal(await whole(w, vm), before);
});

test("all slots take a share at once, in parallel; one more is refused and leaves nothing", async () => {
  await using w = await world(unpluggingKernel());
  const vm = await w.hypervisor.holdings.vm.acquire(w.intent, call());
  const before = await whole(w, vm);
  const intents = await Promise.all(Array.from({ length: PCI_SLOTS }, (_, n) => shareIntent(w.directory, vm, `s${n}`)));
  await Promise.all(intents.map((intent) => shares(w.hypervisor).acquire(intent, call())));
  const full = await whole(w, vm);
  const error = await refusal(shares(w.hypervisor).acquire(await shareIntent(w.directory, vm, "more"), call()));
  assert.is(error.code, "VM_LIMIT");
  assert.equal(await whole(w, vm), full);
  await Promise.all(intents.map((intent) => shares(w.hypervisor).release({ intent, grant: undefined }, call())));
  assert.equal(await whole(w, vm), before);
});

test("acquire() given up half-way leaves nothing", async () => {
  await using w = await world(unpluggingKernel());
  const vm = await w.hypervisor.holdings.vm.acquire(w.intent, call());
  const before = await whole(w, vm);
  for (const afterMs of [0, 5, 10, 15, 25]) {
    const intent = await shareIntent(w.directory, vm);
    await shares(w.hypervisor)
      .acquire(intent, { ...call(), signal: AbortSignal.timeout(afterMs) })
      .catch(() => undefined);
    await shares(w.hypervisor).release({ intent, grant: undefined }, call());
    assert.equal(await whole(w, vm), before, `given up after ${afterMs} ms`);
    assert.not.ok(existsSync(intent.directory));
  }
});

test("a guest that keeps the device makes release() fail with TIMEOUT, yet the host's files are out of its reach", async () => {
  await using w = await world(haltingKernel());
  const vm = await w.hypervisor.holdings.vm.acquire(w.intent, call());
  const intent = await shareIntent(w.directory, vm);
  const grant = await shares(w.hypervisor).acquire(intent, call());
  const error = await refusal(shares(w.hypervisor).release({ intent, grant }, call()));
  assert.is(error.code, "TIMEOUT");
  assert.match(error.message, /let go of share "web"/);
  assert.not.ok(grant.process && (await isAlive(grant.process)));
  const again = await refusal(shares(w.hypervisor).release({ intent, grant }, call(300)));
  assert.is(again.code, "ABORTED", "a second release waits for the same device");
  await w.hypervisor.holdings.vm.release({ intent: w.intent, grant: vm }, call());
  await shares(w.hypervisor).release({ intent, grant }, call());
  assert.not.ok(existsSync(intent.directory));
});

test("a server that cannot serve fails with what it said, and leaves nothing", async () => {
  await using w = await world(unpluggingKernel());
  const vm = await w.hypervisor.holdings.vm.acquire(w.intent, call());
  const before = await whole(w, vm);
  const intent = await shareIntent(w.directory, vm);
  const daemon = join(w.directory, "virtiofsd");
  await writeFile(daemon, "#!/bin/sh\necho no such luck >&2\nexit 3\n", { mode: 0o755 });
  const broken = await qemu({ virtiofsd: daemon });
  const error = await refusal(shares(broken).acquire(intent, call()));
  assert.is(error.code, "VM_FAILED");
  assert.match(error.message, /no such luck/);
  assert.equal(await whole(w, vm), before);
  assert.not.ok(existsSync(intent.directory));
});

test("a source exchanged between its check and its mount is not served", async () => {
  await using w = await world();
  const vm = await w.hypervisor.holdings.vm.acquire(w.intent, call());
  const { id, directory, entries } = await shareIntent(w.directory, vm);
  const [entry] = await checkEntries(entries);
  if (!entry) throw new Error("no entry");
  const plan = { id, nonce: vm.nonce, directory, entries: [{ ...entry, source: w.directory }], diesWithThisProcess: true };
  const error = await refusal(startShareServer(plan, resolveOptions({})).then((server) => server.failed));
  assert.match(error.message, /was exchanged while it was shared/);
  await shares(w.hypervisor).release({ intent: await shareIntent(w.directory, vm), grant: undefined }, call());
});

test("no virtiofsd is HOST_MISSING with the package's name", async () => {
  await using w = await world();
  const vm = await w.hypervisor.holdings.vm.acquire(w.intent, call());
  const error = await refusal(shares(await qemu({ virtiofsd: "no-virtiofsd" })).acquire(await shareIntent(w.directory, vm), call()));
  assert.is(error.code, "HOST_MISSING");
  assert.match(error.hint ?? "", /qemu-system-common/);
});

test("a plug that QEMU refuses leaves no half behind", async () => {
  await using w = await world(unpluggingKernel());
  const vm = await w.hypervisor.holdings.vm.acquire(w.intent, call());
  const intent = await shareIntent(w.directory, vm);
  await using lease = await leaseMachine(vm);
  // Takes the device's id, so that chardev-add succeeds and device_add fails.
  await lease.machine.execute("device_add", { driver: "virtio-rng-pci", id: "share-web", bus: "bridge" });
  const before = await whole(w, vm);
  const error = await refusal(shares(w.hypervisor).acquire(intent, call()));
  assert.is(error.code, "VM_COMMAND_FAILED");
  assert.match(error.message, /Duplicate device ID/);
  assert.equal((await whole(w, vm)).chardevs, before.chardevs);
  assert.equal((await whole(w, vm)).processes, before.processes);
});

s.test("entries are checked before anything is started", async () => {
  await using w = await world();
  const vm = await w.hypervisor.holdings.vm.acquire(w.intent, call());
  const good = await shareIntent(w.directory, vm);
  await symlink("/nowhere", join(w.directory, "dangling"));
  const entry = { name: "data", source: join(w.directory, "data"), type: "directory", readonly: true } as const;
  const table: readonly [string, object, RegExp][] = [
    ["entries[0].source", { source: join(w.directory, "none") }, /ENOENT/],
    ["entries[0].source", { source: join(w.directory, "dangling") }, /ENOENT/],
    ["entries[0].source", { source: "relative" }, /absolute path of a directory/],
    ["entries[0].source", { type: "file" }, /it is a directory/],
    ["entries[0].source", { source: "/dev/null", type: "file" }, /it is a special file/],
    ["entries[0].name", { name: ".." }, /file name/],
    ["entries[0].name", { name: "a/b" }, /file name/],
    ["entries[0].name", { name: "-x" }, /file name/],
  ];
  for (const [path, change, text] of table) {
    const error = await refusal(shares(w.hypervisor).acquire({ ...good, entries: [{ ...entry, ...change }] }, call()));
    assert.is(error.code === "INVALID_INPUT" && error.data.path, path);
    assert.match(error.message, text);
  }
  const twice = await refusal(shares(w.hypervisor).acquire({ ...good, entries: [entry, entry] }, call()));
  assert.is(twice.code === "INVALID_INPUT" && twice.data.path, "entries[1].name");
  const id = await refusal(shares(w.hypervisor).acquire({ ...good, id: "../x" }, call()));
  assert.is(id.code === "INVALID_INPUT" && id.data.path, "share.id");
  assert.not.ok(existsSync(good.directory));
});

s.run();
