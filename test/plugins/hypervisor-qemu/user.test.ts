import { existsSync } from "node:fs";
import { chmod, lstat, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { createConnection } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { isAlive, type VmGrant } from "tapvisor/plugin";
import * as assert from "uvu/assert";
import { leaseMachine } from "../../../plugins/hypervisor-qemu/machines.ts";
import { findUser } from "../../../plugins/hypervisor-qemu/user.ts";
import { suite } from "../../support/suite.ts";
import { disks, diskView, rawImage } from "./support/disks.ts";
import { startElsewhere, startOwner } from "./support/elsewhere.ts";
import { refusal } from "./support/refusal.ts";
import { USER, type UserWorld, userWorld } from "./support/user-world.ts";
import { call, processesOf, shareIntent, shares, until } from "./support/world.ts";

const s = suite("hypervisor-qemu user on QEMU");
const isRoot = process.geteuid?.() === 0;
const test: typeof s.test = isRoot ? s.test : (title) => s.skip(title, "becoming another user needs root");

/** `status`'s lines about what a process may do. */
async function rights({ process: identity }: VmGrant) {
  const status = await readFile(`/proc/${identity?.pid}/status`, "utf8");
  const field = (name: string) => new RegExp(`^${name}:(.*)$`, "m").exec(status)?.[1]?.trim().split(/\s+/).join(" ");
  return ["Name", "Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapAmb", "NoNewPrivs", "Seccomp"].map(field);
}

const mode = async (path: string) => (await lstat(path)).mode & 0o777;

/** What a release has to leave: no process, and the run directory as it was made. */
async function nothing({ intent }: UserWorld) {
  const { uid, gid } = await lstat(intent.runDirectory);
  const left = await readdir(intent.runDirectory);
  return { processes: await processesOf(intent), left, mode: await mode(intent.runDirectory), uid, gid };
}
const NOTHING = { processes: [], left: [], mode: 0o700, uid: 0, gid: 0 };

for (const detached of [false, true]) {
  test(`QEMU${detached ? ", detached," : ""} runs as the user, without a right more, in a directory that it cannot write to; it is paused, and released whole`, async () => {
    await using w = await userWorld({ detached });
    const user = await findUser({ user: USER }, call());
    const grant = await w.hypervisor.holdings.vm.acquire(w.intent, call());
    const none = "0000000000000000";
    const ids = (id: number | undefined) => [id, id, id, id].join(" ");
    assert.equal(await rights(grant), ["qemu-system-x86", ids(user?.uid), ids(user?.gid), "", none, none, none, none, "1", "2"]);
    assert.match(await readFile(`/proc/${grant.process?.pid}/limits`, "utf8"), /^Max core file size\s+0\s+0\s/m);
    const { uid, gid } = await lstat(w.intent.runDirectory);
    assert.equal([uid, gid, await mode(w.intent.runDirectory)], [0, user?.gid, 0o710]);
    for (const name of await readdir(w.intent.runDirectory)) {
      const file = await lstat(join(w.intent.runDirectory, name));
      assert.equal([name, file.uid, file.gid, file.isSocket() ? file.mode & 0o777 : 0o600], [name, 0, 0, 0o600]);
    }
    const vm = await w.hypervisor.connect(grant, call());
    await vm.pause(call());
    assert.is(await vm.status(call()), "paused");
    await vm.resume(call());
    assert.is(await vm.status(call()), "running");
    assert.is(grant.agentEndpoint.kind, "serial");
    const agent = createConnection((grant.agentEndpoint as { path: string }).path);
    await new Promise((resolve, reject) => agent.once("connect", resolve).once("error", reject));
    await using lease = await leaseMachine(grant);
    const isOpen = async () => {
      const ports = (await lease.machine.execute("query-chardev")) as { label: string; filename: string }[];
      return ports.some(({ label, filename }) => label === "agent" && !filename.startsWith("disconnected"));
    };
    await until(isOpen);
    agent.destroy();
    await vm.disconnect();
    await w.hypervisor.holdings.vm.release({ intent: w.intent, grant }, call());
    assert.equal(await nothing(w), NOTHING);
  });
}

test("kill -9 of the script ends QEMU and virtiofsd, and a release that knows the intent alone leaves nothing", async () => {
  await using w = await userWorld();
  await using owner = startOwner(w, { share: true, user: USER });
  const { vm, share } = await owner.grants;
  assert.ok(vm.process && (await isAlive(vm.process)));
  assert.is((await rights(vm))[1]?.split(" ")[0] === "0", false);
  await owner.kill();
  await until(async () => (await processesOf(w.intent)).length === 0);
  await shares(w.hypervisor).release({ intent: await shareIntent(w.directory, vm), grant: share }, call());
  await w.hypervisor.holdings.vm.release({ intent: w.intent, grant: undefined }, call());
  assert.equal(await nothing(w), NOTHING);
});

test(
  "kill -9 of the script at any instant of the start leaves no process, and nothing that a release does not take",
  async () => {
    for (const afterMs of [0, 5, 10, 15, 20, 30, 45, 60, 90]) {
      await using w = await userWorld();
      await using owner = startOwner(w, { user: USER });
      await until(async () => (await mode(w.intent.runDirectory)) !== 0o700 || (await readdir(w.intent.runDirectory)).length > 0);
      await delay(afterMs);
      await owner.kill();
      await until(async () => (await processesOf(w.intent)).length === 0);
      await w.hypervisor.holdings.vm.release({ intent: w.intent, grant: undefined }, call());
      assert.equal(await nothing(w), NOTHING);
    }
  },
  { timeoutMs: 120_000 },
);

test("a detached VM and its share outlive the script; a later process plugs, unplugs and ends", async () => {
  await using w = await userWorld({ detached: true });
  const { vm, share } = await startElsewhere(w, { share: true, user: USER });
  assert.ok(vm.process && (await isAlive(vm.process)));
  const more = await shareIntent(w.directory, vm, "more");
  await shares(w.hypervisor).release({ intent: more, grant: await shares(w.hypervisor).acquire(more, call()) }, call());
  await shares(w.hypervisor).release({ intent: await shareIntent(w.directory, vm), grant: share }, call());
  await w.hypervisor.holdings.vm.release({ intent: w.intent, grant: vm }, call());
  assert.equal(await nothing(w), NOTHING);
});

test("10 shares come and go: their servers run as root, QEMU reaches each by a socket that only its group may connect to", async () => {
  await using w = await userWorld();
  const user = await findUser({ user: USER }, call());
  const vm = await w.hypervisor.holdings.vm.acquire(w.intent, call());
  for (let n = 0; n < 10; n++) {
    const intent = await shareIntent(w.directory, vm);
    const grant = await shares(w.hypervisor).acquire(intent, call());
    const socket = await lstat(join(intent.directory, "fs.sock"));
    assert.equal([socket.uid, socket.gid, socket.mode & 0o007], [0, user?.gid, 0]);
    assert.equal([await mode(intent.directory), await mode(join(intent.directory, "stage"))], [0o710, 0o700]);
    await shares(w.hypervisor).release({ intent, grant }, call());
  }
  await w.hypervisor.holdings.vm.release({ intent: w.intent, grant: vm }, call());
  assert.equal(await nothing(w), NOTHING);
});

test("a disk that the user can use is plugged in and out; another one is refused by its name, and its mode stays", async () => {
  await using w = await userWorld();
  const vm = await w.hypervisor.holdings.vm.acquire(w.intent, call());
  const before = await diskView(vm);
  const path = await rawImage(join(w.readable, "disk.img"));
  const disk = { sandbox: "test", vm, id: "data", path, format: "raw", driver: "virtio-scsi", index: 0 } as const;
  const open = { ...disk, readonly: true };
  await disks(w.hypervisor).release({ intent: open, grant: await disks(w.hypervisor).acquire(open, call()) }, call());
  const closed = await refusal(disks(w.hypervisor).acquire({ ...disk, readonly: false }, call()));
  assert.equal([closed.code, (closed.data as { path: string }).path], ["INVALID_INPUT", "disk.path"]);
  assert.match(closed.message, /disk\.img": QEMU runs as user "daemon", who cannot read and write it/);
  assert.match(closed.hint ?? "", /setfacl/);
  await chmod(path, 0o666);
  const writable = { ...disk, readonly: false };
  await disks(w.hypervisor).release({ intent: writable, grant: await disks(w.hypervisor).acquire(writable, call()) }, call());
  const hidden = await rawImage(join(w.directory, "hidden.img")); // its own mode would do: the directory's does not
  const error = await refusal(disks(w.hypervisor).acquire({ ...disk, path: hidden, readonly: true }, call()));
  assert.equal([error.code, (error.data as { value: string }).value], ["INVALID_INPUT", hidden]);
  assert.is((await stat(hidden)).mode & 0o777, 0o644);
  assert.equal(await diskView(vm), before);
});

test("a file to boot from, or a QEMU, that the user cannot use is refused before anything is started", async () => {
  await using w = await userWorld();
  const { kernel } = w.intent.boot;
  for (const name of ["kernel", "initrd", "image"] as const) {
    const secret = join(w.directory, "kernel");
    const error = await refusal(w.hypervisor.holdings.vm.acquire({ ...w.intent, boot: { ...w.intent.boot, [name]: secret } }, call()));
    assert.equal(
      [error.code, error.data],
      ["INVALID_INPUT", { path: `boot.${name}`, value: secret, wanted: `a file that user "${USER}" can read` }],
    );
  }
  await chmod(kernel, 0o600);
  assert.is((await refusal(w.hypervisor.holdings.vm.acquire(w.intent, call()))).code, "INVALID_INPUT");
  assert.is(await mode(kernel), 0o600);
  assert.equal(await nothing(w), NOTHING);
});

test("a QEMU that ends before it has greeted is told with its own words, at once, and leaves nothing", async () => {
  await using w = await userWorld();
  await writeFile(w.intent.boot.kernel, "");
  const error = await refusal(w.hypervisor.holdings.vm.acquire(w.intent, call()));
  assert.is(error.code, "VM_FAILED");
  assert.match(error.message, /kernel/);
  assert.equal(await nothing(w), NOTHING);
});

test("with a user there are no templates and snapshots, and a VM that would go on from one is UNSUPPORTED", async () => {
  await using w = await userWorld();
  assert.equal([w.hypervisor.capabilities.templates, w.hypervisor.capabilities.snapshots], [false, false]);
  const memories = [{ kind: "template", file: "/memory" } as const, { kind: "snapshot", state: "/state" } as const];
  for (const memory of memories) {
    const error = await refusal(w.hypervisor.holdings.vm.acquire({ ...w.intent, memory }, call()));
    assert.is(error.code, "UNSUPPORTED");
    assert.match((error.data as { what: string }).what, /hypervisor-qemu\.user/);
  }
  const grant = await w.hypervisor.holdings.vm.acquire(w.intent, call());
  const vm = await w.hypervisor.connect(grant, call());
  for (const save of [vm.save, vm.snapshot]) {
    assert.is((await refusal(Promise.resolve(save?.(join(w.directory, "state"), call())))).code, "UNSUPPORTED");
  }
  assert.not.ok(existsSync(join(w.directory, "state")));
  await vm.disconnect();
});

s.run();
