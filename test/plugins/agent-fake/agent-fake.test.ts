import { constants } from "node:os";
import { onceAborted } from "tapvisor/plugin";
import { quietCall } from "tapvisor/testing";
import * as assert from "uvu/assert";
import { containerRequest, fakeGuest } from "../../support/fake-guest.ts";
import { rejects } from "../../support/rejects.ts";
import { suite } from "../../support/suite.ts";

const s = suite("agent-fake");
const { SIGTERM, SIGKILL, SIGWINCH } = constants.signals;

type Guest = Awaited<ReturnType<typeof fakeGuest>>;

async function textOf(w: Guest, process: { container: string; exec: string }, read: "readStdout" | "readStderr" = "readStdout") {
  const chunks: Uint8Array[] = [];
  for (;;) {
    const chunk = await w.client[read](process, 4096, quietCall());
    if (chunk.length === 0) return Buffer.concat(chunks).toString();
    chunks.push(chunk);
  }
}

for (const [args, exitCode, stdout, stderr] of [
  [["true"], 0, "", ""],
  [["false"], 1, "", ""],
  [["echo", "a", "b"], 0, "a b\n", ""],
  [["/bin/echo", "x"], 0, "x\n", ""],
  [["sh", "-c", "exit 7"], 7, "", ""],
  [["sh", "-c", "exit"], 0, "", ""],
  [["sleep", "0"], 0, "", ""],
  [["sleep", "x"], 1, "", "sleep: invalid time interval 'x'\n"],
] as const) {
  s.test(`${args.join(" ")} ends with ${exitCode} and its output can be read afterwards`, async () => {
    await using w = await fakeGuest();
    const process = await w.container("c1", args);
    assert.is(await w.client.waitProcess(process, quietCall()), exitCode);
    assert.is(await textOf(w, process), stdout);
    assert.is(await textOf(w, process, "readStderr"), stderr);
    assert.is(await textOf(w, process), "", "the end stays the end");
  });
}

s.test("a scripted program gets its arguments, environment and input, and its exception is exit code 1", async () => {
  await using w = await fakeGuest();
  w.world.programs.probe = async ({ args, env, stdin, write }) => {
    let input = "";
    for await (const chunk of stdin) input += Buffer.from(chunk).toString();
    await write(JSON.stringify({ args, env, input }));
    throw new Error("probe failed");
  };
  const process = await w.container("c1", ["probe", "1"]);
  await w.client.writeStdin(process, Buffer.from("hello "), quietCall());
  await w.client.writeStdin(process, Buffer.from("you"), quietCall());
  await w.client.closeStdin(process, quietCall());
  assert.is(await w.client.waitProcess(process, quietCall()), 1);
  assert.equal(JSON.parse(await textOf(w, process)), { args: ["probe", "1"], env: { NAME: "a=b", EMPTY: "" }, input: "hello you" });
  assert.is(await textOf(w, process, "readStderr"), "probe failed\n");
});

s.test("cat gives back a megabyte in order through full pipes", async () => {
  await using w = await fakeGuest();
  const process = await w.container("c1", ["cat"]);
  const data = Buffer.from(Array.from({ length: 2 ** 20 }, (_, n) => (n * 7 + (n >> 8)) & 0xff));
  const reading = (async () => {
    const chunks: Uint8Array[] = [];
    for (;;) {
      const chunk = await w.client.readStdout(process, 10_000, quietCall());
      assert.ok(chunk.length <= 10_000);
      if (chunk.length === 0) return Buffer.concat(chunks);
      chunks.push(chunk);
    }
  })();
  for (let sent = 0; sent < data.length; ) sent += await w.client.writeStdin(process, data.subarray(sent), quietCall());
  await w.client.closeStdin(process, quietCall());
  assert.ok(data.equals(await reading));
});

s.test("a program that nobody reads stops at a full pipe of 64 KiB, and a full input takes no more", async () => {
  await using w = await fakeGuest();
  let written = 0;
  w.world.programs.pour = async ({ write }) => {
    for (;;) {
      await write(Buffer.alloc(1024));
      written += 1024;
    }
  };
  const pour = await w.container("c1", ["pour"]);
  const sleep = await w.container("c2", ["sleep", "infinity"]);
  assert.is(await w.client.writeStdin(sleep, Buffer.alloc(100_000), quietCall()), 65_536);
  await rejects(w.client.writeStdin(sleep, Buffer.alloc(1), quietCall({ timeoutMs: 20 })), "ABORTED");
  assert.is(written, 65_536);
  await w.client.readStdout(pour, 1024, quietCall());
  await rejects(w.client.writeStdin(sleep, Buffer.alloc(1), quietCall({ timeoutMs: 20 })), "ABORTED");
  assert.is(written, 66_560);
});

s.test("signals: a default one ends with 128 + n, a trapped one is handled, SIGKILL always ends, a harmless one does nothing", async () => {
  await using w = await fakeGuest();
  w.world.programs.stubborn = async ({ trap, write, signal }) => {
    trap(SIGTERM, () => void write("no\n"));
    trap(SIGKILL, () => void write("never\n"));
    await onceAborted(signal);
    return 0;
  };
  const sleep = await w.container("c1", ["sleep", "infinity"]);
  await w.client.signalProcess(sleep, SIGWINCH, false, quietCall());
  await w.client.signalProcess(sleep, SIGTERM, false, quietCall());
  assert.is(await w.client.waitProcess(sleep, quietCall()), 143);
  await w.client.signalProcess(sleep, SIGTERM, false, quietCall()); // gone already

  const stubborn = await w.container("c2", ["stubborn"]);
  await w.client.signalProcess(stubborn, SIGTERM, false, quietCall());
  assert.is(Buffer.from(await w.client.readStdout(stubborn, 10, quietCall())).toString(), "no\n");
  await w.client.signalProcess({ container: "c2", exec: "" }, SIGKILL, true, quietCall());
  assert.is(await w.client.waitProcess(stubborn, quietCall()), 137);
  assert.is(await textOf(w, stubborn), "");
  await rejects(w.client.signalProcess(stubborn, 99, false, quietCall()), "AGENT_FAILED");
  await w.client.signalProcess({ container: "unknown", exec: "unknown" }, SIGKILL, false, quietCall());
});

s.test("a terminal has one stream", async () => {
  await using w = await fakeGuest();
  w.world.programs.both = async ({ write, writeErr }) => {
    await write("out ");
    await writeErr("err");
    return 0;
  };
  const process = await w.container("c1", ["both"], { terminal: true });
  await w.client.waitProcess(process, quietCall());
  assert.is(await textOf(w, process), "out err");
  assert.is(await textOf(w, process, "readStderr"), "");
});

s.test("an unknown command is COMMAND_NOT_FOUND, one without permission COMMAND_NOT_EXECUTABLE; the container can be removed", async () => {
  await using w = await fakeGuest();
  w.world.programs.data = "not-executable";
  for (const [id, command, code, exitCode] of [
    ["c1", "nothing", "COMMAND_NOT_FOUND", 127],
    ["c2", "data", "COMMAND_NOT_EXECUTABLE", 126],
    ["c3", "constructor", "COMMAND_NOT_FOUND", 127],
  ] as const) {
    const process = await w.container(id, [command], { start: false });
    assert.equal((await rejects(w.client.startContainer(id, quietCall()), code)).data, { command, exitCode } as never);
    assert.is(await w.client.waitProcess(process, quietCall()), exitCode);
    await w.client.removeContainer(id, quietCall());
  }
  assert.equal(w.world.snapshot().vms[0]?.guest.containers, []);
});

s.test("the agent refuses with the statuses of Kata's", async () => {
  await using w = await fakeGuest();
  const status = async (promise: Promise<unknown>) => (await rejects(promise, "AGENT_FAILED")).data.status;
  const unknown = { container: "none", exec: "none" };
  const call = quietCall();
  assert.is(await status(w.client.createSandbox({ sandbox: "web", hostname: "web", storages: [] }, call)), "ALREADY_EXISTS");
  const process = await w.container("c1", ["sleep", "infinity"]);
  assert.is(await status(w.client.createContainer(containerRequest("c1", ["true"]), call)), "ALREADY_EXISTS");
  assert.is(await status(w.client.startContainer("c1", call)), "FAILED_PRECONDITION");
  assert.is(await status(w.client.startContainer("none", call)), "NOT_FOUND");
  assert.is(await status(w.client.waitProcess(unknown, call)), "NOT_FOUND");
  assert.is(await status(w.client.readStdout(unknown, 1, call)), "NOT_FOUND");
  assert.is(await status(w.client.writeStdin({ ...process, exec: "other" }, Buffer.from("x"), call)), "NOT_FOUND");
  await w.client.closeStdin(process, call);
  assert.is(await status(w.client.writeStdin(process, Buffer.from("x"), call)), "FAILED_PRECONDITION");
  await w.client.removeContainer("none", call);
  await w.client.closeStdin(unknown, call);
  await w.client.destroySandbox(call);
  await w.client.destroySandbox(call);
  assert.is(await status(w.client.createContainer(containerRequest("c1", ["true"]), call)), "FAILED_PRECONDITION");
});

s.test("a container whose share, lower directory, root or bind source is not in the guest is refused and not kept", async () => {
  await using w = await fakeGuest();
  await w.container("c1", ["true"]);
  const request = containerRequest("c1", ["true"]);
  const [share, overlay] = request.storages as [(typeof request.storages)[0], (typeof request.storages)[0]];
  const bind = (source: string) => ({ destination: "/data", type: "bind", source, options: ["rbind"] });
  for (const [what, wrong] of [
    ["tag", { storages: [{ ...share, source: "unplugged" }, overlay] }],
    ["lower", { storages: [share, { ...overlay, options: ["lowerdir=/run/share/c1/nothing"] }] }],
    ["driver", { storages: [share, overlay, { ...overlay, driver: "magic" }] }],
    ["root", { spec: { ...request.spec, root: { path: "/elsewhere", readonly: false } } }],
    ["bind", { spec: { ...request.spec, mounts: [bind("/run/share/c1/mount-0")] } }],
    ["command", { spec: { ...request.spec, process: { ...request.spec.process, args: [] } } }],
    [
      "pid namespace",
      { spec: { ...request.spec, linux: { ...request.spec.linux, namespaces: [{ type: "pid", path: "/proc/1/ns/pid" }] } } },
    ],
  ] as const) {
    await rejects(w.client.createContainer({ ...request, ...wrong, container: "c2" }, quietCall()), "AGENT_FAILED").catch((error) => {
      throw new Error(`${what}: ${error}`);
    });
  }
  assert.equal(
    w.world.snapshot().vms[0]?.guest.containers.map(({ id }) => id),
    ["c1"],
  );
  await w.client.createContainer(
    { ...request, container: "c2", spec: { ...request.spec, mounts: [bind("/run/share/c1/rootfs")] } },
    quietCall(),
  );
});

s.test("when the VM dies, lost settles and every pending and later call is AGENT_LOST", async () => {
  await using w = await fakeGuest();
  const process = await w.container("c1", ["sleep", "infinity"]);
  w.world.failNext("agent.guestDetails", { when: "before", hang: true });
  await w.client.writeStdin(process, Buffer.alloc(65_536), quietCall());
  const pending = [
    w.client.waitProcess(process, quietCall()),
    w.client.readStdout(process, 1, quietCall()),
    w.client.writeStdin(process, Buffer.alloc(1), quietCall()),
    w.client.guestDetails(quietCall()),
  ];
  w.world.killVm("web");
  await Promise.all(pending.map((call) => rejects(call, "AGENT_LOST")));
  await rejects(w.client.startContainer("c1", quietCall()), "AGENT_LOST");
  assert.ok((await w.client.lost) instanceof Error);
  await rejects(w.agent.connect(w.target, quietCall()), "AGENT_LOST");
  await w.client.close();
});

s.test("when the connection is cut, the containers go on and a new connection reaches them", async () => {
  await using w = await fakeGuest();
  const process = await w.container("c1", ["cat"]);
  const waiting = w.client.waitProcess(process, quietCall());
  w.world.loseAgent("web");
  await rejects(waiting, "AGENT_LOST");
  const again = await w.agent.connect(w.target, quietCall());
  await again.writeStdin(process, Buffer.from("still here"), quietCall());
  assert.is(Buffer.from(await again.readStdout(process, 100, quietCall())).toString(), "still here");
});

s.test("close() ends pending calls with AGENT_LOST, settles lost with undefined and is counted", async () => {
  await using w = await fakeGuest();
  const process = await w.container("c1", ["sleep", "infinity"]);
  const waiting = w.client.waitProcess(process, quietCall());
  assert.is(w.world.snapshot().vms[0]?.agentConnections, 1);
  await w.client.close();
  await rejects(waiting, "AGENT_LOST");
  assert.is(await w.client.lost, undefined);
  assert.is(w.world.snapshot().vms[0]?.agentConnections, 0);
});

s.test("a paused guest answers when it is resumed", async () => {
  await using w = await fakeGuest();
  const vm = await w.hypervisor.connect(w.vm, quietCall());
  await vm.pause(quietCall());
  let answered = false;
  const details = w.client.guestDetails(quietCall()).then(() => {
    answered = true;
  });
  await rejects(w.client.guestDetails(quietCall({ timeoutMs: 20 })), "ABORTED");
  assert.not(answered);
  await vm.resume(quietCall());
  await details;
});

s.test("a call ends when its signal fires, and has no effect when it had fired before", async () => {
  await using w = await fakeGuest();
  const process = await w.container("c1", ["sleep", "infinity"]);
  await rejects(w.client.waitProcess(process, quietCall({ timeoutMs: 20 })), "ABORTED");
  await rejects(w.client.removeContainer("c1", quietCall({ signal: AbortSignal.abort() })), "ABORTED");
  assert.is(w.world.snapshot().vms[0]?.guest.containers.length, 1);
});

s.test("an endpoint that is not in memory is UNSUPPORTED", async () => {
  await using w = await fakeGuest();
  await rejects(w.agent.connect({ ...w.target, endpoint: { kind: "serial", path: "/x" } }, quietCall()), "UNSUPPORTED");
});

s.run();
