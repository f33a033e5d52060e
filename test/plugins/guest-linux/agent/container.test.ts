import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { status } from "@grpc/grpc-js";
import { agentServiceDefinition, EXIT_CODE_KEY } from "tapvisor/protocol";
import * as assert from "uvu/assert";
import { suite } from "../../../support/suite.ts";
import { type FakeGuest, fakeGuest, processOf, refusal } from "./support/fake-guest.ts";

const s = suite("guest agent: containers");
const C = { container_id: "c", exec_id: "c" };

async function started(guest: FakeGuest, ...args: string[]): Promise<void> {
  await guest.call("CreateSandbox", { sandbox_id: "s" });
  await guest.call("CreateContainer", { container_id: "c", OCI: guest.spec(args) });
  await guest.call("StartContainer", { container_id: "c" });
}

async function readAll(guest: FakeGuest, name: "ReadStdout" | "ReadStderr" = "ReadStdout", exec_id = "c"): Promise<string> {
  const parts: Uint8Array[] = [];
  for (;;) {
    const { data } = await guest.call(name, { container_id: "c", exec_id, len: 4096 });
    if (data.length === 0) return Buffer.concat(parts).toString();
    parts.push(data);
  }
}

s.test(
  "the end of a stream is answered as Kata's agents do, at every read: a client of theirs would read on after an empty answer",
  async () => {
    await using guest = await fakeGuest();
    await started(guest, "true");
    await guest.call("WaitProcess", C);
    for (const name of ["ReadStdout", "ReadStderr", "ReadStdout"] as const) {
      const ended = await refusal(guest.raw(agentServiceDefinition[name], { ...C, len: 10 }));
      assert.equal([ended.status, ended.text], [status.UNKNOWN, "EOF"]);
    }
  },
);

s.test("a container runs, and its output and exit code stay until it is removed", async () => {
  await using guest = await fakeGuest();
  await started(guest, "sh", "-c", "echo out; echo err >&2; exit 7");
  const waits = [guest.call("WaitProcess", C), guest.call("WaitProcess", C)];
  assert.equal(await Promise.all(waits), [{ status: 7 }, { status: 7 }]);
  assert.is(await readAll(guest), "out\n");
  assert.is(await readAll(guest, "ReadStderr"), "err\n");
  assert.is(await readAll(guest), "", "the end again");
  assert.equal(await guest.call("WaitProcess", C), { status: 7 });
  await guest.call("RemoveContainer", { container_id: "c" });
  assert.is((await refusal(guest.call("WaitProcess", C))).status, status.NOT_FOUND);
  assert.equal(await readdir(join(guest.paths.own, "containers")), []);
});

s.test("standard output is a pipe that the process can open again", async () => {
  await using guest = await fakeGuest();
  await started(guest, "sh", "-c", "echo again > /dev/stdout");
  assert.is(await readAll(guest), "again\n");
});

s.test("a read waits for output, may come before the start, and a cancelled one takes nothing", async () => {
  await using guest = await fakeGuest();
  await guest.call("CreateSandbox", { sandbox_id: "s" });
  await guest.call("CreateContainer", { container_id: "c", OCI: guest.spec(["sh", "-c", "read line; echo got $line"]) });
  const control = new AbortController();
  const given = refusal(guest.call("ReadStdout", { ...C, len: 10 }, { signal: control.signal }));
  const early = guest.call("ReadStdout", { ...C, len: 100 });
  await guest.call("StartContainer", { container_id: "c" });
  control.abort();
  assert.is((await given).status, status.CANCELLED);
  assert.equal(await guest.call("WriteStdin", { ...C, data: Buffer.from("it\n") }), { len: 3 });
  assert.is(Buffer.from((await early).data).toString(), "got it\n");
});

s.test("a connection that ends leaves the bytes of its pending read for the next one", async () => {
  await using guest = await fakeGuest();
  await started(guest, "sh", "-c", "read line; echo got $line");
  const lost = refusal(guest.call("ReadStdout", { ...C, len: 100 }));
  await guest.reconnect();
  await lost;
  await guest.call("WriteStdin", { ...C, data: Buffer.from("it\n") });
  assert.is(await readAll(guest), "got it\n");
});

s.test("an answer that does not get through is for the next read", async () => {
  await using guest = await fakeGuest();
  await started(guest, "sh", "-c", "head -c 500000 /dev/zero | tr '\\0' x; echo end");
  await guest.call("WaitProcess", C, { timeoutMs: 20_000 });
  await guest.stall("ReadStdout", { ...C, len: 1 << 20 });
  const output = await readAll(guest);
  assert.is(output.length, 500_004);
  assert.ok(output.startsWith("xxx") && output.endsWith("xend\n"));
});

s.test("a process that nobody reads waits, and loses nothing", async () => {
  await using guest = await fakeGuest();
  await started(guest, "sh", "-c", "head -c 4000000 /dev/zero; echo done >&2");
  const err = guest.call("ReadStderr", { ...C, len: 10 }, { timeoutMs: 500 });
  assert.is((await refusal(err)).status, status.DEADLINE_EXCEEDED, "it has finished writing though nobody read");
  let bytes = 0;
  for (;;) {
    const { data } = await guest.call("ReadStdout", { ...C, len: 2 ** 31 });
    if (data.length === 0) break;
    assert.ok(data.length <= 1024 * 1024);
    bytes += data.length;
  }
  assert.is(bytes, 4_000_000);
  assert.is(await readAll(guest, "ReadStderr"), "done\n");
});

s.test("standard input reaches the process, and is closed once", async () => {
  await using guest = await fakeGuest();
  await started(guest, "cat");
  const data = Buffer.alloc(300_000, "0123456789");
  const output = readAll(guest);
  for (let at = 0; at < data.length; ) at += (await guest.call("WriteStdin", { ...C, data: data.subarray(at) })).len;
  await guest.call("CloseStdin", C);
  await guest.call("CloseStdin", C);
  assert.is(await output, data.toString());
  assert.is((await refusal(guest.call("WriteStdin", { ...C, data }))).status, status.FAILED_PRECONDITION);
});

s.test("a write waits while the pipe is full", async () => {
  await using guest = await fakeGuest();
  await started(guest, "sleep", "1000");
  const data = Buffer.alloc(65536, "x");
  let taken = 0;
  const refused = await refusal(
    (async () => {
      for (;;) taken += (await guest.call("WriteStdin", { ...C, data }, { timeoutMs: 1000 })).len;
    })(),
  );
  assert.is(refused.status, status.DEADLINE_EXCEEDED);
  assert.ok(taken >= 65536 && taken <= 4 * 65536, `${taken} bytes taken`);
});

s.test("a write fails when the process has ended", async () => {
  await using guest = await fakeGuest();
  await started(guest, "true");
  await guest.call("WaitProcess", C);
  const refused = await refusal(guest.call("WriteStdin", { ...C, data: Buffer.from("x") }));
  assert.is(refused.status, status.FAILED_PRECONDITION);
});

s.test("a command that cannot run says which exit code, and the runtime's text is in no stream", async () => {
  for (const [command, code, text] of [
    ["nosuch", "127", /not found/],
    ["/is-there", "126", /not found/],
    ["refused", "126", /Exec format error/],
  ] as const) {
    await using guest = await fakeGuest();
    await writeFile(join(guest.rootfs, "is-there"), "");
    await guest.call("CreateSandbox", { sandbox_id: "s" });
    await guest.call("CreateContainer", { container_id: "c", OCI: guest.spec([command]) });
    const early = guest.call("ReadStderr", { ...C, len: 1000 });
    const refused = await refusal(guest.call("StartContainer", { container_id: "c" }));
    assert.is(refused.status, status.FAILED_PRECONDITION, command);
    assert.equal(refused.metadata.get(EXIT_CODE_KEY), [code], command);
    assert.match(refused.text, text);
    assert.is((await early).data.length, 0, command);
    assert.equal(await guest.call("WaitProcess", C), { status: Number(code) });
    assert.is((await refusal(guest.call("StartContainer", { container_id: "c" }))).status, status.FAILED_PRECONDITION);
    await guest.call("RemoveContainer", { container_id: "c" });
  }
});

s.test("another failure of the runtime is INTERNAL with its reason", async () => {
  await using guest = await fakeGuest();
  await guest.call("CreateSandbox", { sandbox_id: "s" });
  await guest.call("CreateContainer", { container_id: "c", OCI: guest.spec(["broken"]) });
  const refused = await refusal(guest.call("StartContainer", { container_id: "c" }));
  assert.is(refused.status, status.INTERNAL);
  assert.match(refused.text, /mount 'proc'/);
  assert.equal(refused.metadata.get(EXIT_CODE_KEY), []);
});

s.test("a quick failure of the process itself is no failure of the start", async () => {
  await using guest = await fakeGuest();
  await started(guest, "sh", "-c", "echo oops >&2; exit 1");
  assert.equal(await guest.call("WaitProcess", C), { status: 1 });
  assert.is(await readAll(guest, "ReadStderr"), "oops\n");
});

s.test("a start that is given up ends the runtime, and the container can be removed", async () => {
  await using guest = await fakeGuest();
  await guest.call("CreateSandbox", { sandbox_id: "s" });
  await guest.call("CreateContainer", { container_id: "c", OCI: guest.spec(["slow-setup"]) });
  const refused = await refusal(guest.call("StartContainer", { container_id: "c" }, { timeoutMs: 500 }));
  assert.is(refused.status, status.DEADLINE_EXCEEDED);
  assert.equal(await guest.call("WaitProcess", C), { status: 125 });
  await guest.call("RemoveContainer", { container_id: "c", timeout: 5 });
  assert.not.ok(existsSync(join(guest.paths.own, "crun/c")));
});

s.test("signals reach the process or all, and one that has ended needs none", async () => {
  await using guest = await fakeGuest();
  await started(guest, "sh", "-c", "trap 'echo term; exit 3' TERM; echo ready; while :; do sleep 0.05; done");
  await guest.call("ReadStdout", { ...C, len: 100 });
  await guest.call("SignalProcess", { ...C, signal: 15 });
  assert.equal(await guest.call("WaitProcess", C), { status: 3 });
  assert.is(await readAll(guest), "term\n");
  await guest.call("SignalProcess", { ...C, signal: 9 });
  await guest.call("SignalProcess", { container_id: "c", exec_id: "", signal: 15 });
});

s.test("SIGKILL for the first process goes through the cgroup", async () => {
  await using guest = await fakeGuest();
  await started(guest, "sleep", "1000");
  await guest.call("SignalProcess", { ...C, signal: 9 });
  assert.equal(await guest.call("WaitProcess", C), { status: 137 });
});

s.test("the empty exec_id signals what is in the cgroup", async () => {
  await using guest = await fakeGuest();
  await started(guest, "sleep", "1000");
  await guest.call("SignalProcess", { container_id: "c", exec_id: "", signal: 15 });
  assert.equal(await guest.call("WaitProcess", C), { status: 143 });
});

s.test("RemoveContainer ends what runs", async () => {
  await using guest = await fakeGuest();
  await started(guest, "sleep", "1000");
  const wait = guest.call("WaitProcess", C);
  await guest.call("RemoveContainer", { container_id: "c", timeout: 10 });
  assert.equal(await wait, { status: 137 });
  assert.is((await refusal(guest.call("RemoveContainer", { container_id: "c" }))).status, status.NOT_FOUND);
  assert.not.ok(existsSync(join(guest.paths.cgroups, "tapvisor/c")));
});

s.test("the order of the calls is checked", async () => {
  await using guest = await fakeGuest();
  const create = { container_id: "c", OCI: guest.spec(["true"]) };
  const unstarted = await refusal(guest.call("CreateContainer", create));
  assert.is(unstarted.status, status.FAILED_PRECONDITION);
  assert.is(unstarted.text, "Sandbox not started, impossible to run a new container");
  await guest.call("CreateSandbox", { sandbox_id: "s" });
  assert.is((await refusal(guest.call("CreateSandbox", { sandbox_id: "s" }))).status, status.ALREADY_EXISTS);
  for (const name of [
    "StartContainer",
    "RemoveContainer",
    "WaitProcess",
    "ReadStdout",
    "WriteStdin",
    "CloseStdin",
    "SignalProcess",
  ] as const) {
    const request = { container_id: "x", exec_id: "x", len: 1, signal: 9 };
    assert.is((await refusal(guest.call(name, request))).status, status.NOT_FOUND, name);
  }
  await guest.call("CreateContainer", create);
  assert.is((await refusal(guest.call("CreateContainer", create))).status, status.ALREADY_EXISTS);
  assert.is((await refusal(guest.call("SignalProcess", { ...C, signal: 9 }))).status, status.FAILED_PRECONDITION);
  assert.is((await refusal(guest.call("WaitProcess", { container_id: "c", exec_id: "other" }))).status, status.NOT_FOUND);
  await guest.call("StartContainer", { container_id: "c" });
  assert.is((await refusal(guest.call("StartContainer", { container_id: "c" }))).status, status.FAILED_PRECONDITION);
});

s.test("bad requests are INVALID_ARGUMENT, have no effect and do not end the agent", async () => {
  await using guest = await fakeGuest();
  await guest.call("CreateSandbox", { sandbox_id: "s" });
  const good = guest.spec(["true"]);
  const linux = good.Linux;
  const cases: [string, object, number][] = [
    ["id with ..", { container_id: "../x", OCI: good }, status.INVALID_ARGUMENT],
    ["no id", { OCI: good }, status.INVALID_ARGUMENT],
    ["no spec", { container_id: "c" }, status.INVALID_ARGUMENT],
    ["no process", { container_id: "c", OCI: { ...good, Process: null } }, status.INVALID_ARGUMENT],
    ["no command", { container_id: "c", OCI: guest.spec([]) }, status.INVALID_ARGUMENT],
    ["a NUL", { container_id: "c", OCI: guest.spec(["a\0b"]) }, status.INVALID_ARGUMENT],
    ["a rootfs elsewhere", { container_id: "c", OCI: { ...good, Root: { Path: "/etc", Readonly: false } } }, status.INVALID_ARGUMENT],
    [
      "a rootfs with ..",
      { container_id: "c", OCI: { ...good, Root: { Path: `${guest.rootfs}/../x`, Readonly: false } } },
      status.INVALID_ARGUMENT,
    ],
    ["a bind from elsewhere", { container_id: "c", OCI: { ...good, Mounts: [mount("/x", "bind", "/etc")] } }, status.INVALID_ARGUMENT],
    ["a disguised bind", { container_id: "c", OCI: { ...good, Mounts: [mount("/x", "none", "/etc", "rbind")] } }, status.INVALID_ARGUMENT],
    ["a foreign mount", { container_id: "c", OCI: { ...good, Mounts: [mount("/x", "ext4", "/dev/vda")] } }, status.INVALID_ARGUMENT],
    [
      "a pid namespace",
      { container_id: "c", OCI: { ...good, Linux: { ...linux, Namespaces: [{ Type: "pid" }] } } },
      status.FAILED_PRECONDITION,
    ],
    [
      "a joined namespace",
      { container_id: "c", OCI: { ...good, Linux: { ...linux, Namespaces: [{ Type: "network", Path: "/proc/1/ns/net" }] } } },
      status.INVALID_ARGUMENT,
    ],
    ["a shared pid namespace", { container_id: "c", OCI: good, sandbox_pidns: true }, status.UNIMPLEMENTED],
    [
      "an unknown driver",
      { container_id: "c", OCI: good, storages: [{ driver: "nfs", mount_point: guest.rootfs }] },
      status.INVALID_ARGUMENT,
    ],
  ];
  for (const [name, request, wanted] of cases) {
    const refused = await refusal(guest.call("CreateContainer", request));
    assert.is(refused.status, wanted, `${name}: ${refused.text}`);
  }
  assert.is((await refusal(guest.raw(agentServiceDefinition.StartTracing as never, {}))).status, status.FAILED_PRECONDITION);
  assert.is(guest.agent.containers.size, 0);
  assert.equal(guest.logged, []);
  await guest.call("CreateContainer", { container_id: "c", OCI: good });
});

s.test("the bundle holds what was asked for, the agent's cgroup and private namespaces", async () => {
  await using guest = await fakeGuest();
  await guest.call("CreateSandbox", { sandbox_id: "s" });
  await guest.call("CreateContainer", { container_id: "c", OCI: { ...guest.spec(["true"]), Hostname: "web" } });
  const config = JSON.parse(await readFile(join(guest.paths.own, "containers/c/config.json"), "utf8"));
  assert.is(config.ociVersion, "1.0.2");
  assert.is(config.hostname, "web");
  assert.is(config.linux.cgroupsPath, "/tapvisor/c/container");
  assert.equal(config.linux.namespaces, [{ type: "mount" }, { type: "pid" }, { type: "cgroup" }]);
});

s.test("DestroySandbox removes all containers, and a new sandbox can follow", async () => {
  await using guest = await fakeGuest();
  await started(guest, "sleep", "1000");
  await guest.call("DestroySandbox", {});
  await guest.call("DestroySandbox", {});
  assert.is(guest.agent.containers.size, 0);
  await guest.call("CreateSandbox", { sandbox_id: "s2", hostname: "second" });
  assert.is(await readFile(guest.paths.hostnameFile, "utf8"), "second");
});

s.test("ExecProcess runs one more process with streams and an exit code of its own", async () => {
  await using guest = await fakeGuest();
  await started(guest, "sleep", "1000");
  const exec = (exec_id: string, ...args: string[]) =>
    guest.raw(agentServiceDefinition.ExecProcess as never, { container_id: "c", exec_id, process: processOf(args) });
  await exec("e", "sh", "-c", "echo from exec; exit 4");
  assert.equal(await guest.call("WaitProcess", { container_id: "c", exec_id: "e" }), { status: 4 });
  assert.is(await readAll(guest, "ReadStdout", "e"), "from exec\n");
  assert.is((await refusal(exec("e", "true"))).status, status.ALREADY_EXISTS);
  const missing = await refusal(exec("f", "nosuch"));
  assert.equal(missing.metadata.get(EXIT_CODE_KEY), ["127"]);
  assert.is((await refusal(guest.call("WaitProcess", { container_id: "c", exec_id: "f" }))).status, status.NOT_FOUND);
  await exec("g", "sleep", "1000");
  await guest.call("SignalProcess", { container_id: "c", exec_id: "g", signal: 9 });
  assert.equal(await guest.call("WaitProcess", { container_id: "c", exec_id: "g" }), { status: 137 });
  await guest.call("SignalProcess", { ...C, signal: 9 });
  await guest.call("WaitProcess", C);
  assert.is((await refusal(exec("h", "true"))).status, status.FAILED_PRECONDITION);
});

s.test("GetGuestDetails reads the memory block's size in hexadecimal", async () => {
  await using guest = await fakeGuest();
  await mkdir(join(guest.paths.sys, "devices/system/memory"), { recursive: true });
  await writeFile(join(guest.paths.sys, "devices/system/memory/block_size_bytes"), "8000000\n");
  const details = await guest.call("GetGuestDetails", { mem_block_size: true });
  assert.is(details.mem_block_size_bytes, String(128 * 2 ** 20));
  assert.ok(details.agent_details?.storage_handlers.includes("virtio-fs"));
});

function mount(destination: string, type: string, source: string, ...options: string[]) {
  return { destination, type, source, options };
}

s.run();
