import { lstat, mkdir, readdir, readFile, rename, rm, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { status } from "@grpc/grpc-js";
import * as assert from "uvu/assert";
import { lateModules } from "../../../../plugins/guest-linux/agent/modules.ts";
import type { StatusError } from "../../../../plugins/guest-linux/agent/status.ts";
import { OomWatch } from "../../../../plugins/guest-linux/agent/system/oom-watch.ts";
import { suite } from "../../../support/suite.ts";
import { tempDirectory } from "../../../support/temp.ts";
import { type FakeGuest, fakeGuest, refusal } from "./support/fake-guest.ts";

const s = suite("guest agent: the guest as a machine");

const statusOf = async (work: Promise<unknown>) => (await refusal(work)).status;

/** The calls of busybox, none of which happens. */
function noBusybox(guest: FakeGuest): string[] {
  const calls: string[] = [];
  const busybox = async (args: readonly string[]) => {
    calls.push(args.join(" "));
    return "";
  };
  Object.assign(guest.agent, { busybox });
  return calls;
}

/** A container whose cgroup says how often the kernel has killed in it. */
async function withEvents(guest: FakeGuest, id: string, kills = 0): Promise<(kills: number) => Promise<void>> {
  await guest.call("CreateContainer", { container_id: id, OCI: guest.spec(["true"]) });
  const file = join(guest.paths.cgroups, "tapvisor", id, "memory.events");
  const set = (count: number) => writeFile(file, `low 0\noom 1\noom_kill ${count}\n`);
  await set(kills);
  return set;
}

s.test("bytes for the random number generator go to the kernel's device, 1 to 64 KiB", async () => {
  await using guest = await fakeGuest();
  await mkdir(guest.paths.dev);
  await writeFile(join(guest.paths.dev, "urandom"), "");
  await guest.call("ReseedRandomDev", { data: Buffer.from("seed") });
  assert.is(await readFile(join(guest.paths.dev, "urandom"), "utf8"), "seed");
  for (const bytes of [0, 65_537]) {
    assert.is(await statusOf(guest.call("ReseedRandomDev", { data: Buffer.alloc(bytes) })), status.INVALID_ARGUMENT);
  }
});

s.test("the clock is set to a whole second, when that second begins; what is no time is INVALID_ARGUMENT", async () => {
  await using guest = await fakeGuest();
  const calls = noBusybox(guest);
  await guest.call("SetGuestDateTime", { Sec: "1700000000", Usec: "0" });
  const started = performance.now();
  await guest.call("SetGuestDateTime", { Sec: "1700000000", Usec: "900000" });
  assert.ok(performance.now() - started >= 99);
  assert.equal(calls, ["date -u -s @1700000000", "date -u -s @1700000001"]);
  for (const bad of [{ Sec: "-1" }, { Sec: "253402300800" }, { Usec: "-1" }, { Usec: "1000000" }]) {
    assert.is(await statusOf(guest.call("SetGuestDateTime", bad)), status.INVALID_ARGUMENT);
  }
  assert.is(calls.length, 2);
});

s.test("memory is probed by its addresses, where the kernel wants that; elsewhere it is FAILED_PRECONDITION", async () => {
  await using guest = await fakeGuest();
  assert.is(await statusOf(guest.call("MemHotplugByProbe", { memHotplugProbeAddr: ["4096"] })), status.FAILED_PRECONDITION);
  const asked = { mem_block_size: false, mem_hotplug_probe: true };
  assert.is((await guest.call("GetGuestDetails", asked)).support_mem_hotplug_probe, false);
  const probe = join(guest.paths.sys, "devices/system/memory/probe");
  await mkdir(join(probe, ".."), { recursive: true });
  await writeFile(probe, "");
  await guest.call("MemHotplugByProbe", { memHotplugProbeAddr: ["4294967296"] });
  assert.is(await readFile(probe, "utf8"), "0x100000000");
  assert.is((await guest.call("GetGuestDetails", asked)).support_mem_hotplug_probe, true);
});

s.test("nothing is traced, and that is said", async () => {
  await using guest = await fakeGuest();
  for (const call of ["StartTracing", "StopTracing"] as const) assert.is(await statusOf(guest.call(call, {})), status.FAILED_PRECONDITION);
});

const COPY = { path: "", file_size: "6", file_mode: 0o100640, dir_mode: 0o751, uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };

s.test("a file appears under its name with its last part, in directories that are made for it", async () => {
  await using guest = await fakeGuest();
  const path = join(guest.paths.open[1] ?? "", "a/b/file");
  const part = (offset: number, data: string) => guest.call("CopyFile", { ...COPY, path, offset: String(offset), data: Buffer.from(data) });
  await part(0, "abc");
  assert.equal(await readdir(join(path, "..")), ["file.tmp"]);
  await part(3, "def");
  assert.equal(await readdir(join(path, "..")), ["file"]);
  assert.is(await readFile(path, "utf8"), "abcdef");
  assert.is((await stat(path)).mode & 0o7777, 0o640);
  assert.is((await stat(join(path, ".."))).mode & 0o7777, 0o751);
  await part(0, "ghijkl");
  assert.is(await readFile(path, "utf8"), "ghijkl", "an earlier one is replaced");
  await guest.call("CopyFile", { ...COPY, path: `${path}2`, file_size: "0" });
  assert.is((await stat(`${path}2`)).size, 0);
});

s.test("a part that is not the next one is FAILED_PRECONDITION, and what had come goes; a part at 0 begins anew", async () => {
  await using guest = await fakeGuest();
  const path = join(guest.paths.open[1] ?? "", "file");
  const part = (offset: number, data: string) => guest.call("CopyFile", { ...COPY, path, offset: String(offset), data: Buffer.from(data) });
  assert.is(await statusOf(part(3, "def")), status.FAILED_PRECONDITION);
  await part(0, "abc");
  assert.is(await statusOf(part(4, "de")), status.FAILED_PRECONDITION);
  assert.is(await statusOf(part(3, "def")), status.FAILED_PRECONDITION, "it has gone");
  await part(0, "xyz");
  await part(0, "abc");
  await part(3, "def");
  assert.is(await readFile(path, "utf8"), "abcdef");
});

s.test("no link is followed and nothing but a file replaced, whatever a container puts in the way", async () => {
  await using guest = await fakeGuest();
  await using elsewhere = await tempDirectory();
  const open = guest.paths.open[1] ?? "";
  await writeFile(join(elsewhere.path, "kept"), "kept");
  await symlink(elsewhere.path, join(open, "out"));
  await symlink(join(elsewhere.path, "kept"), join(open, "link"));
  await symlink(join(elsewhere.path, "kept"), join(open, "next.tmp"));
  await mkdir(join(open, "directory"));
  const copy = (name: string, more: object = {}) =>
    guest.call("CopyFile", { ...COPY, path: join(open, name), data: Buffer.from("abcdef"), ...more });
  for (const name of ["out/kept", "out/new", "out/a/new", "directory", "link/x"]) {
    assert.is(await statusOf(copy(name)), status.FAILED_PRECONDITION, name);
  }
  for (const name of ["link", "next"]) await copy(name);
  assert.is((await lstat(join(open, "link"))).isFile(), true);
  await copy("later", { data: Buffer.from("abc") });
  await symlink(join(elsewhere.path, "kept"), join(open, "swapped"));
  await rename(join(open, "swapped"), join(open, "later.tmp"));
  assert.is(await statusOf(copy("later", { data: Buffer.from("def"), offset: "4" as never })), status.INVALID_ARGUMENT);
  assert.is(await statusOf(copy("later", { data: Buffer.from("def"), offset: "3" as never })), status.FAILED_PRECONDITION);
  assert.equal(await readdir(elsewhere.path), ["kept"]);
  assert.is(await readFile(join(elsewhere.path, "kept"), "utf8"), "kept");
});

s.test("a copy to elsewhere, of a directory, or of more than was said is INVALID_ARGUMENT", async () => {
  await using guest = await fakeGuest();
  const open = guest.paths.open[1] ?? "";
  const data = Buffer.from("abcdef");
  const bad = [
    { path: "/etc/passwd" },
    { path: `${open}/../x` },
    { path: open },
    { path: `${open}/` },
    { path: "file" },
    { path: `${open}/f`, file_mode: 0o040755 },
    { path: `${open}/f`, file_size: "5" },
    { path: `${open}/f`, file_size: "-1" },
    { path: `${open}/f`, offset: "1" },
    { path: `${open}/f`, offset: "-1" },
  ];
  for (const each of bad)
    assert.is(await statusOf(guest.call("CopyFile", { ...COPY, data, ...each })), status.INVALID_ARGUMENT, JSON.stringify(each));
  assert.equal(await readdir(open), ["c"]);
});

s.test("what has come of a file that was never finished goes with the sandbox", async () => {
  await using guest = await fakeGuest();
  const open = guest.paths.open[1] ?? "";
  await guest.call("CreateSandbox", { sandbox_id: "s" });
  await guest.call("CopyFile", { ...COPY, path: `${open}/half`, data: Buffer.from("abc") });
  await guest.call("CopyFile", { ...COPY, path: `${open}/whole`, data: Buffer.from("abcdef") });
  await guest.call("DestroySandbox", {});
  assert.equal((await readdir(open)).sort(), ["c", "whole"]);
});

s.test("a container in which the kernel killed is told of, also when that was before anybody asked", async () => {
  await using guest = await fakeGuest();
  assert.is(await statusOf(guest.call("GetOOMEvent", {})), status.FAILED_PRECONDITION);
  await guest.call("CreateSandbox", { sandbox_id: "s" });
  await withEvents(guest, "early", 2);
  const kill = await withEvents(guest, "late");
  assert.equal(await guest.call("GetOOMEvent", {}), { container_id: "early" });
  const waiting = guest.call("GetOOMEvent", {});
  await kill(0);
  await kill(1);
  assert.equal(await waiting, { container_id: "late" });
  assert.is(await statusOf(guest.call("GetOOMEvent", {}, { timeoutMs: 100 })), status.DEADLINE_EXCEEDED);
  await kill(2);
  await guest.agent.oom.forget("late");
  assert.equal(await guest.call("GetOOMEvent", {}), { container_id: "late" }, "one that is gone");
  const ended = refusal(guest.call("GetOOMEvent", {}));
  await delay(50);
  for (const id of ["early", "late"]) await rm(join(guest.paths.cgroups, "tapvisor", id, "memory.events")); // a cgroup's own files go with it
  await guest.call("DestroySandbox", {});
  assert.is((await ended).status, status.NOT_FOUND);
});

s.test(
  "each event goes to one who waits, the longest waiting first; one who gave up gets none, and what is put back is told again",
  async () => {
    const watch = new OomWatch();
    const none = new AbortController().signal;
    const giveUp = new AbortController();
    const gone = watch.next(giveUp.signal);
    const [first, second] = [watch.next(none), watch.next(none)];
    giveUp.abort(new Error("gave up"));
    assert.match(String(await gone.catch((error: unknown) => error)), "gave up");
    watch.putBack("a");
    watch.putBack("b");
    assert.equal(await Promise.all([first, second]), ["a", "b"]);
    for (const id of ["c", "c", "d"]) watch.putBack(id);
    assert.equal([await watch.next(none), await watch.next(none)], ["c", "d"], "one container, one event");
    const last = watch.next(none);
    watch.end();
    assert.is(((await last.catch((error: unknown) => error)) as StatusError).status, "NOT_FOUND");
  },
);

s.test("name servers are in the guest's resolv.conf while the sandbox is, and a container can be given it", async () => {
  await using guest = await fakeGuest();
  await guest.call("CreateSandbox", { sandbox_id: "s", dns: ["nameserver 10.0.2.3", "search box"] });
  assert.is(await readFile(guest.paths.resolvConf, "utf8"), "nameserver 10.0.2.3\nsearch box\n");
  await guest.call("DestroySandbox", {});
  assert.equal(await readdir(join(guest.paths.resolvConf, "..")), []);
  for (const dns of [["a\nb"], Array(65).fill("search a"), ["a".repeat(1025)]]) {
    assert.is(await statusOf(guest.call("CreateSandbox", { sandbox_id: "s", dns })), status.INVALID_ARGUMENT);
  }
  await guest.call("CreateSandbox", { sandbox_id: "s" });
  assert.equal(await readdir(join(guest.paths.resolvConf, "..")), []);
});

s.test("the programs of the hook directories are hooks of each container, by name, and nothing else there is", async () => {
  await using guest = await fakeGuest();
  const hooks = join(guest.paths.open[1] ?? "", "hooks");
  const put = async (name: string, mode: number) => {
    await mkdir(join(hooks, name, ".."), { recursive: true });
    await writeFile(join(hooks, name), "#!/bin/sh\n", { mode });
  };
  await put("prestart/b", 0o755);
  await put("prestart/a", 0o700);
  await put("prestart/text", 0o644);
  await mkdir(join(hooks, "prestart/directory"));
  await symlink("/no/such", join(hooks, "prestart/nowhere"));
  await put("poststop/z", 0o755);
  await put("other/z", 0o755);
  await guest.call("CreateSandbox", { sandbox_id: "s", guest_hook_path: hooks });
  await guest.call("CreateContainer", { container_id: "c", OCI: guest.spec(["true"]) });
  const config = JSON.parse(await readFile(join(guest.paths.own, "containers/c/config.json"), "utf8"));
  const hook = (phase: string, name: string) => ({
    path: join(hooks, phase, name),
    args: [name, phase],
    env: ["PATH=/usr/bin"],
    timeout: 10,
  });
  assert.equal(config.hooks, {
    prestart: [hook("prestart", "a"), hook("prestart", "b")],
    poststart: [],
    poststop: [hook("poststop", "z")],
  });
  await guest.call("DestroySandbox", {});
  assert.is(await statusOf(guest.call("CreateSandbox", { sandbox_id: "s", guest_hook_path: "hooks" })), status.INVALID_ARGUMENT);
  await guest.call("CreateSandbox", { sandbox_id: "s", guest_hook_path: "/no/such" });
  await guest.call("CreateContainer", { container_id: "c", OCI: guest.spec(["true"]) });
  assert.not.match(await readFile(join(guest.paths.own, "containers/c/config.json"), "utf8"), "hooks");
});

s.test(
  "kernel modules are loaded with what they need and their parameters; one that is loaded stays, one that is not there is NOT_FOUND",
  async () => {
    await using directory = await tempDirectory();
    const [index, loaded] = [join(directory.path, "index"), join(directory.path, "module")];
    await writeFile(
      index,
      JSON.stringify({ virtio_net: ["/m/failover.ko", "/m/net_failover.ko", "/m/virtio_net.ko"], loop: ["/m/loop.ko"], builtin: [] }),
    );
    await mkdir(join(loaded, "loop"), { recursive: true });
    const calls: (readonly string[])[] = [];
    const log = { warn: () => {}, error: () => {} };
    const busybox = async (args: readonly string[]) => {
      calls.push(args.filter((arg) => !arg.includes("\n")));
      return "";
    };
    const modules = lateModules(index, busybox, log, loaded);
    await modules.load("virtio-net", ["csum=1"]);
    await modules.load("loop", ["max_loop=3"]);
    await modules.load("builtin", []);
    assert.equal(calls, [
      ["sh", "-c", "sh", "/m/failover.ko", "/m/net_failover.ko"],
      ["insmod", "/m/virtio_net.ko", "csum=1"],
    ]);
    const missing = await modules.load("no_such", []).catch((error: unknown) => error);
    assert.is((missing as StatusError).status, "NOT_FOUND");
    const bad = lateModules(index, () => Promise.reject(new Error("insmod: can't insert")), log, loaded);
    assert.is(((await bad.load("virtio_net", []).catch((error: unknown) => error)) as StatusError).status, "FAILED_PRECONDITION");
  },
);

s.test("a sandbox whose module cannot be loaded is not made, and a name or parameter that is none is INVALID_ARGUMENT", async () => {
  await using guest = await fakeGuest();
  const create = (name: string, ...parameters: string[]) =>
    guest.call("CreateSandbox", { sandbox_id: "s", kernel_modules: [{ name, parameters }] });
  assert.is(await statusOf(create("no_such")), status.NOT_FOUND);
  for (const name of ["", "../x", "-f", "a b"]) assert.is(await statusOf(create(name)), status.INVALID_ARGUMENT, name);
  for (const parameter of ["-x", "a b", "a=b\nc", ""])
    assert.is(await statusOf(create("loop", parameter)), status.INVALID_ARGUMENT, parameter);
  await guest.call("CreateSandbox", { sandbox_id: "s" });
});

s.run();
