import { mkdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createEngine, type Engine } from "tapvisor";
import { definePlugin } from "tapvisor/plugin";
import { agentGrpc } from "tapvisor/plugins/agent-grpc";
import { presetFake } from "tapvisor/plugins/preset-fake";
import { FakeWorld } from "tapvisor/testing";
import * as assert from "uvu/assert";
import { connect } from "../../../plugins/agent-grpc/connect.ts";
import type { AgentClient } from "../../../src/contracts/agent.ts";
import type { OciSpec } from "../../../src/contracts/oci.ts";
import { quietCall } from "../../../src/testing/quiet-call.ts";
import { suite } from "../../support/suite.ts";
import { tempDirectory } from "../../support/temp.ts";
import { failure } from "./expect.ts";
import { connected, grpcGuest } from "./fake-guest.ts";
import { type KataServer, kataServer } from "./kata-server.ts";

const s = suite("agent-grpc with a Kata agent");

interface World extends AsyncDisposable {
  readonly server: KataServer;
  readonly client: AgentClient;
  /** Creates and starts a container. */
  run(id: string, ...args: string[]): Promise<{ container: string; exec: string }>;
}

async function kata(): Promise<World> {
  const directory = await tempDirectory();
  const server = kataServer();
  const target = {
    sandbox: "web",
    endpoint: { kind: "memory", sandbox: "web" },
    transport: server.transport,
    runDirectory: directory.path,
  };
  const client = await connect(target as Parameters<typeof connect>[0], quietCall());
  await client.createSandbox({ hostname: "h", sandbox: "web", storages: [] }, quietCall());
  return {
    server,
    client,
    run: async (id, ...args) => {
      await client.createContainer({ container: id, storages: [], spec: specOf(args) }, quietCall());
      await client.startContainer(id, quietCall());
      return { container: id, exec: id };
    },
    async [Symbol.asyncDispose]() {
      await client.close();
      await server[Symbol.asyncDispose]();
      await directory[Symbol.asyncDispose]();
    },
  };
}

function specOf(args: readonly string[], terminal = false): OciSpec {
  return {
    ociVersion: "1.1.0",
    root: { path: "/r", readonly: true },
    process: { terminal, user: { uid: 0, gid: 0 }, args, env: [], cwd: "/", noNewPrivileges: true },
    mounts: [],
    linux: { namespaces: [{ type: "pid" }, { type: "mount" }], maskedPaths: [], readonlyPaths: [] },
  };
}

const text = async (read: Promise<Uint8Array>) => Buffer.from(await read).toString();

s.test("output that nobody has read when the process is waited for is read afterwards, to its end, and again", async () => {
  await using world = await kata();
  const { client } = world;
  const process = await world.run("c", "say", "out", "err", "3");
  assert.is(await client.waitProcess(process, quietCall()), 3);
  assert.is(await text(client.readStdout(process, 2, quietCall())), "ou");
  assert.is(await text(client.readStdout(process, 4096, quietCall())), "t");
  assert.is(await text(client.readStdout(process, 4096, quietCall())), "");
  assert.is(await text(client.readStdout(process, 4096, quietCall())), "");
  assert.is(await text(client.readStderr(process, 4096, quietCall())), "err");
  assert.is(await text(client.readStderr(process, 4096, quietCall())), "");
});

s.test("a process can be waited for several times, although its agent forgets it at the first", async () => {
  await using world = await kata();
  const process = await world.run("c", "say", "", "", "7");
  const wait = () => world.client.waitProcess(process, quietCall());
  assert.equal(await Promise.all([wait(), wait()]), [7, 7]);
  assert.is(await wait(), 7);
});

s.test("a megabyte and more arrives whole and in order while the process is waited for", async () => {
  await using world = await kata();
  const process = await world.run("c", "write", String(3 * 2 ** 20));
  const waiting = world.client.waitProcess(process, quietCall());
  let bytes = 0;
  for (;;) {
    const { length } = await world.client.readStdout(process, 2 ** 20, quietCall());
    if (length === 0) break;
    bytes += length;
  }
  assert.is(bytes, 3 * 2 ** 20);
  assert.is(await waiting, 0);
});

s.test("output that nobody reads is taken in part only, and a signal lets the end of its process be seen", async () => {
  await using world = await kata();
  const process = await world.run("c", "write", String(64 * 2 ** 20));
  const waiting = world.client.waitProcess(process, quietCall());
  await world.client.signalProcess(process, 9, true, quietCall());
  assert.is(await waiting, 137);
  let bytes = 0;
  for (;;) {
    const { length } = await world.client.readStdout(process, 2 ** 20, quietCall());
    if (length === 0) break;
    bytes += length;
  }
  assert.ok(bytes > 0 && bytes <= 2 * 2 ** 20, `${bytes} bytes`);
});

s.test("a read that its caller gives up loses nothing: its bytes come with the next one", async () => {
  await using world = await kata();
  const process = await world.run("c", "cat");
  const gaveUp = new AbortController();
  const given = world.client.readStdout(process, 4096, { ...quietCall(), signal: gaveUp.signal });
  gaveUp.abort();
  await failure("ABORTED", given);
  await world.client.writeStdin(process, Buffer.from("kept"), quietCall());
  assert.is(await text(world.client.readStdout(process, 4096, quietCall())), "kept");
});

s.test("standard input that is closed is an error of one kind, whichever way the agent says it", async () => {
  await using world = await kata();
  const process = await world.run("c", "cat");
  await world.client.closeStdin(process, quietCall());
  const closed = await failure("AGENT_FAILED", world.client.writeStdin(process, Buffer.from("x"), quietCall()));
  assert.is(closed.data.status, "FAILED_PRECONDITION");
  assert.is(await world.client.waitProcess(process, quietCall()), 0);
  const other = await world.run("d", "say");
  await world.server.containers.get("d")?.process.ended;
  const over = await failure("AGENT_FAILED", world.client.writeStdin(other, Buffer.from("x"), quietCall()));
  assert.is(over.data.status, "FAILED_PRECONDITION");
});

s.test("a container that runs, or is paused, is removed all the same: its processes are ended first", async () => {
  await using world = await kata();
  await world.run("c", "wait");
  await world.client.removeContainer("c", quietCall());
  await world.run("p", "wait");
  await world.client.pauseContainer("p", quietCall());
  await world.client.removeContainer("p", quietCall());
  await world.client.createContainer({ container: "n", storages: [], spec: specOf(["wait"]) }, quietCall());
  await world.client.removeContainer("n", quietCall());
  await world.client.removeContainer("never-there", quietCall());
  assert.is(world.server.containers.size, 0);
});

s.test("a container of the same id as an earlier one has its own output, not the rest of that one's", async () => {
  await using world = await kata();
  const first = await world.run("c", "say", "unread");
  await world.client.waitProcess(first, quietCall());
  await world.client.removeContainer("c", quietCall());
  const second = await world.run("c", "say", "new");
  assert.is(await text(world.client.readStdout(second, 4096, quietCall())), "new");
});

s.test("a terminal's standard error is at its end, and its output is not asked for twice", async () => {
  await using world = await kata();
  await world.client.createContainer({ container: "t", storages: [], spec: specOf(["say", "one", "stray"], true) }, quietCall());
  await world.client.startContainer("t", quietCall());
  const process = { container: "t", exec: "t" };
  assert.is(await text(world.client.readStderr(process, 4096, quietCall())), "");
  assert.is(await text(world.client.readStdout(process, 4096, quietCall())), "one");
});

s.test("a share, and an overlay over it, are mounts that the agent can make; they go with the container", async () => {
  await using world = await kata();
  const at = "/run/kata-containers";
  const layer = [`upperdir=${at}/c/layer/upper`, `workdir=${at}/c/layer/work`];
  const storages = [
    { driver: "virtio-fs", source: "c", fstype: "virtiofs", options: [], mountPoint: `${at}/shared/containers/c` },
    {
      driver: "overlayfs",
      source: "overlay",
      fstype: "overlay",
      options: [`lowerdir=${at}/shared/containers/c/rootfs`, ...layer],
      mountPoint: `${at}/c/rootfs`,
    },
  ];
  await world.client.createContainer({ container: "c", storages, spec: specOf(["wait"]) }, quietCall());
  assert.equal(world.server.mounted(), [`${at}/shared/containers/c`, `${at}/c/layer`, `${at}/c/layer`, `${at}/c/rootfs`]);
  const sent = world.server.containers.get("c")?.request.storages ?? [];
  assert.equal(
    sent.map(({ driver, fstype }) => [driver, fstype]),
    [
      ["virtio-fs", "virtiofs"],
      ["9p", "bind"],
      ["9p", "tmpfs"],
      ["9p", "overlay"],
    ],
  );
  await world.client.removeContainer("c", quietCall());
  assert.equal(world.server.mounted(), []);
});

s.test("swap is swap alone, although the guest's cgroups count it with memory", async () => {
  await using world = await kata();
  await world.run("c", "wait");
  const { swap, usage } = (await world.client.statsContainer("c", quietCall())).memory;
  assert.equal(usage, { bytes: 1000, maxBytes: 9999, limitBytes: 4096, failures: 1 });
  assert.equal(swap, { bytes: 500, maxBytes: 0, limitBytes: 4096, failures: 1 });
});

s.test("a command that does not exist is told by the agent's text, a process that is gone is no error to signal", async () => {
  await using world = await kata();
  const missing = await failure("COMMAND_NOT_FOUND", world.run("c", "no-such"));
  assert.equal(missing.data, { command: "no-such", exitCode: 127 });
  await world.client.signalProcess({ container: "c", exec: "c" }, 15, false, quietCall());
});

s.test("an agent of ours is spoken to as before: nothing is read that nobody asked for", async () => {
  await using guest = await grpcGuest({ WaitProcess: (_, answer) => answer(null, { status: 1 }) });
  await using client = await connected(guest);
  assert.is(await client.waitProcess({ container: "c", exec: "c" }, quietCall()), 1);
  assert.not(guest.received.some(({ method }) => method.startsWith("Read")));
});

/** The engine with a Kata agent in a hypervisor that only remembers. */
async function engineOverKata(server: KataServer): Promise<AsyncDisposable & { engine: Engine; rootfs: string; world: FakeWorld }> {
  const directory = await tempDirectory();
  const rootfs = join(directory.path, "rootfs");
  await mkdir(rootfs);
  const world = new FakeWorld();
  const transport = definePlugin("transport-test", (context) => context.provide("transport", "test", () => server.transport));
  const engine = await createEngine({
    preset: presetFake({ world, hypervisor: { vcpuRemoval: "unplug" } }),
    root: join(directory.path, "root"),
    plugins: [agentGrpc(), transport()],
    config: { slots: { agent: "grpc", transport: "test" } },
  });
  return {
    engine,
    rootfs,
    world,
    async [Symbol.asyncDispose]() {
      await engine.close();
      await directory[Symbol.asyncDispose]();
    },
  };
}

s.test("the engine runs a container through its whole life on it, and leaves nothing in the guest", async () => {
  await using server = kataServer();
  await using over = await engineOverKata(server);
  const { engine, rootfs } = over;
  await using sandbox = await engine.runSandbox({ id: "box", maxVcpus: 4 });
  const said = await sandbox.run({ rootfs, command: ["say", "hello\n", "oops", "5"] });
  assert.equal(await said.wait(), { exitCode: 5 });
  assert.is(await said.stdout.text(), "hello\n");
  assert.is(await said.stderr.text(), "oops");
  await said.start(); // again, with new files
  assert.is(await said.stdout.text(), "hello\n");
  await said.wait();
  await said.delete();

  const cat = await sandbox.run({ rootfs, command: ["cat"], resources: { vcpus: 2, memory: "128MiB" } });
  cat.stdin.end("through");
  assert.is(await cat.stdout.text(), "through");
  assert.equal(await cat.wait(), { exitCode: 0 });
  assert.is(server.onlineRequests[0]?.nb_cpus, 2);
  await cat.delete();

  const waits = await sandbox.run({ rootfs, command: ["wait"] });
  await waits.pause();
  await waits.resume();
  await waits.update({ memory: "64MiB" });
  assert.is((await waits.stats()).memory.usage.bytes, 1000);
  await waits.stop();
  assert.equal(await waits.wait(), { exitCode: 137 });
  await sandbox.run({ rootfs, command: ["wait"] }); // ended with its sandbox
  const missing = await failure("COMMAND_NOT_FOUND", sandbox.run({ rootfs, command: ["no-such"] }));
  assert.equal(missing.rollback?.left, []);
  await sandbox.stop();
  assert.is(server.containers.size, 0);
  assert.equal(server.mounted(), []);
});

s.test("the engine asks for no overlay when the files themselves are to be written", async () => {
  await using server = kataServer();
  await using over = await engineOverKata(server);
  await using sandbox = await over.engine.runSandbox({ id: "box" });
  const container = await sandbox.createContainer({ id: "c", rootfs: { directory: over.rootfs, access: "shared" }, command: ["wait"] });
  assert.equal(server.mounted(), ["/run/kata-containers/shared/containers/c"]);
  await container.delete();
});

s.test("a file is written into a container before its start, by CopyFile, also over what a copy that failed has left", async () => {
  await using server = kataServer();
  await using over = await engineOverKata(server);
  await mkdir(join(over.rootfs, "etc"));
  await writeFile(join(over.rootfs, "etc/there"), "of the image", { mode: 0o751 });
  await using sandbox = await over.engine.runSandbox({ id: "box" });
  const { files } = await sandbox.createContainer({ id: "c", rootfs: over.rootfs, command: ["wait"] });
  const inGuest = (path: string) => {
    const { bytes, ...rest } = server.files.get(`/run/kata-containers/c/rootfs${path}`) ?? { bytes: undefined };
    return bytes && { text: bytes.toString(), ...rest };
  };
  await files.write("/etc/new", "text", { mode: 0o600, uid: 5, gid: 6 });
  assert.equal(inGuest("/etc/new"), { text: "text", mode: 0o600, uid: 5, gid: 6 });
  await files.write("/etc/./up/../there", "more");
  assert.equal(inGuest("/etc/there"), { text: "more", mode: 0o751, uid: process.getuid?.(), gid: process.getgid?.() });
  await files.write("/empty", "");
  assert.equal(inGuest("/empty"), { text: "", mode: 0o644, uid: 0, gid: 0 });
  const large = Buffer.alloc(3 * 2 ** 20, "0123456789");
  await files.write(
    "/large",
    (function* () {
      for (let at = 0; at < large.length; at += 100_000) yield large.subarray(at, at + 100_000);
    })(),
  );
  assert.ok(server.files.get("/run/kata-containers/c/rootfs/large")?.bytes.equals(large));
  server.files.set("/run/kata-containers/c/rootfs/short.tmp", { bytes: Buffer.alloc(1000, "old"), mode: 0, uid: 0, gid: 0 });
  await files.write("/short", "new");
  assert.is(inGuest("/short")?.text, "new");
  assert.equal(
    [...server.files.keys()].filter((path) => path.endsWith(".tmp")),
    [],
  );
});

s.test("a file is not written where CopyFile could make another one than is meant, and the error says why", async () => {
  await using server = kataServer();
  await using over = await engineOverKata(server);
  const at = (path: string) => join(over.rootfs, path);
  await mkdir(at("etc"));
  await Promise.all(["etc/file", "etc/beside.tmp"].map((path) => writeFile(at(path), "")));
  await symlink("/etc", at("link"));
  await symlink("/etc/passwd", at("etc/leads-out"));
  await using sandbox = await over.engine.runSandbox({ id: "box" });
  const options = { rootfs: over.rootfs, command: ["wait"], mounts: [{ tmpfs: true, target: "/srv/data" }] } as const;
  const container = await sandbox.createContainer({ id: "c", ...options });
  const { files } = container;
  const refused = async (path: string, why: string) => {
    const error = await failure("UNSUPPORTED", files.write(path, "x"));
    assert.match(error.message, why, path);
    assert.match(error.hint ?? "", "between createContainer() and start()");
  };
  await refused("/link/x", "a link");
  await refused("/etc/leads-out", "a link");
  await refused("/etc/beside", "beside it");
  await refused("/srv/data/x", "covers it");
  await refused("/etc/../proc/x", "covers it");
  assert.is((await failure("NOT_FOUND", files.write("/none/x", "x"))).data.kind, "file");
  for (const [path, errno] of [
    ["/etc", "EISDIR"],
    ["/etc/new/", "EISDIR"],
    ["/etc/file/x", "ENOTDIR"],
  ] as const)
    assert.is((await failure("FILE_FAILED", files.write(path, "x"))).data.errno, errno, path);
  const huge = function* () {
    for (let mib = 0; mib < 66; mib++) yield Buffer.alloc(2 ** 20);
  };
  assert.is((await failure("FILE_FAILED", files.write("/huge", huge()))).data.errno, "EFBIG");
  for (const how of [{ append: true }, { inPlace: true }]) await failure("UNSUPPORTED", files.write("/etc/file", "x", how));
  for (const access of ["shared", "readonly"] as const) {
    const other = await sandbox.createContainer({ ...options, id: access, rootfs: { directory: over.rootfs, access } });
    assert.match((await failure("UNSUPPORTED", other.files.write("/x", "x"))).message, "copied on write");
  }
  await failure("UNSUPPORTED", files.read("/etc/file"));
  await container.start();
  await refused("/etc/file", "has been started");
  assert.is(server.files.size, 0, "nothing was written anywhere");
});

s.run();
