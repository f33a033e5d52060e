import { mkdir, readdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { packTar, unpackTar } from "modern-tar";
import type { Container } from "tapvisor";
import { type AgentFiles, isTapvisorError } from "tapvisor/plugin";
import * as assert from "uvu/assert";
import { download } from "../../src/container/files/transfer.ts";
import { fakeEngine } from "../support/fake-engine.ts";
import { rejects } from "../support/rejects.ts";
import { suite } from "../support/suite.ts";

const s = suite("container files");

/** A running container, its files in memory. */
async function running(preset: Parameters<typeof fakeEngine>[0] = {}) {
  const fake = await fakeEngine(preset);
  const sandbox = await fake.engine.runSandbox({ id: "box" });
  const web = await sandbox.run({ id: "web", rootfs: fake.rootfs, command: ["sleep", "60"] });
  return { ...fake, sandbox, web, files: web.files, [Symbol.asyncDispose]: () => fake[Symbol.asyncDispose]() };
}

const errno = async (work: Promise<unknown>) => (await rejects(work, "FILE_FAILED")).data.errno;
const bytesOf = async (stream: AsyncIterable<Uint8Array>) => {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
};

s.test("text, bytes and streams are written, and read whole, in part, as text and as a stream", async () => {
  await using w = await running();
  await w.files.write("/a", "grüße");
  assert.is(await w.files.readText("/a"), "grüße");
  const bytes = Buffer.from(Array.from({ length: 700_000 }, (_, index) => index % 251));
  await w.files.write("/a", bytes);
  assert.ok(bytes.equals(await w.files.read("/a")));
  assert.ok(bytes.subarray(5, 300_005).equals(await w.files.read("/a", { offset: 5, length: 300_000 })));
  await w.files.write("/a", Readable.from([Buffer.from("one"), "two", Buffer.alloc(0), Buffer.alloc(600_000, "x")]));
  assert.is((await w.files.stat("/a")).size, 600_006);
  assert.is((await bytesOf(w.files.readStream("/a", { length: 8 }))).toString(), "onetwoxx");
  await w.files.write("/empty", "");
  assert.is((await w.files.read("/empty")).length, 0);
  await w.files.write("/empty", "+", { append: true });
  await w.files.write("/empty", "+", { append: true });
  assert.is(await w.files.readText("/empty"), "++");
});

s.test("a large file goes in pieces of 256 KiB, the last one puts it in its place; attributes are set as given", async () => {
  await using w = await running();
  await w.files.write("/big", Buffer.alloc(600_000), { mode: 0o640, uid: 5, gid: 6 });
  const writes = w.world.calls.filter(({ operation }) => operation === "agent.writeFile");
  assert.is(writes.length, 3);
  const { mode, uid, gid } = await w.files.stat("/big");
  assert.equal([mode, uid, gid], [0o640, 5, 6]);
});

s.test("a source that fails half-way leaves the file as it was, and nothing beside it", async () => {
  await using w = await running();
  await w.files.write("/f", "before");
  const source = (async function* () {
    yield Buffer.alloc(600_000);
    throw new Error("the source broke");
  })();
  assert.match(String(await w.files.write("/f", source).catch((error) => error)), "the source broke");
  assert.is(await w.files.readText("/f"), "before");
  assert.is(w.world.calls.filter(({ operation }) => operation === "agent.discardFile").length, 1);
});

s.test("read() takes 64 MiB and no more unless it is told how much, and then does not hold what it does not give", async () => {
  await using w = await running();
  const at = { container: "web", path: "/huge" };
  const files = w.world.vm("box")?.guest.containers.get("web")?.files;
  const mib = Buffer.alloc(2 ** 20);
  files?.write(at, { mode: "replace", offset: 0, data: Buffer.alloc(65 * 2 ** 20), last: true });
  assert.is(await errno(w.files.read("/huge")), "EFBIG");
  assert.is((await w.files.read("/huge", { length: 65 * 2 ** 20 })).length, 65 * mib.length);
});

s.test("a file that is exchanged while it is read is an error, not a mixture", async () => {
  await using w = await running();
  await w.files.write("/f", Buffer.alloc(3 * 2 ** 20, "a"));
  const stream = w.files.readStream("/f");
  const reading = stream[Symbol.asyncIterator]();
  await reading.next();
  await w.files.write("/f", Buffer.alloc(3 * 2 ** 20, "b"));
  const rest = (async () => {
    for (;;) if ((await reading.next()).done) return;
  })();
  assert.is(await errno(rest), "ESTALE");
});

s.test("what a script gives wrong is INVALID_INPUT, with the field", async () => {
  await using w = await running();
  const { files } = w;
  const wrong: readonly (readonly [string, () => Promise<unknown> | unknown])[] = [
    ["path", () => files.read("relative")],
    ["path", () => files.stat("")],
    ["path", () => files.list("/a\0b")],
    ["path", () => files.read(`/${"x".repeat(4096)}`)],
    ["path", () => files.readStream(undefined as never)],
    ["path", () => files.watch("x")],
    ["path", () => files.tarOut("x")],
    ["to", () => files.rename("/a", "b")],
    ["offset", () => files.read("/a", { offset: -1 })],
    ["length", () => files.read("/a", { length: 1.5 })],
    ["mode", () => files.write("/a", "", { mode: 0o10000 })],
    ["uid", () => files.mkdir("/a", { uid: -1 })],
    ["data", () => files.write("/a", 5 as never)],
    ["data", () => files.write("/a", [5] as never)],
    ["directory", () => files.upload("/no/such/directory", "/a")],
    ["maxBytes", () => files.download("/etc", "x", { maxBytes: -1 })],
  ];
  for (const [field, work] of wrong) assert.is((await rejects((async () => work())(), "INVALID_INPUT")).data.path, field, String(work));
});

s.test("exists() tells what is there; anything but a missing file is an error still", async () => {
  await using w = await running();
  assert.equal(
    await Promise.all(["/etc/passwd", "/etc", "/nothing", "/nothing/below", "/etc/passwd/x"].map((path) => w.files.exists(path))),
    [true, true, false, false, false],
  );
  await w.web.stop({ force: true });
  await w.web.delete();
  await rejects(w.files.exists("/etc"), "NOT_FOUND");
});

s.test("files are there in every state but failed; a deleted container has none, a paused sandbox does not answer", async () => {
  await using w = await running();
  const created = await w.sandbox.createContainer({ rootfs: w.rootfs, command: ["sleep", "60"] });
  await created.files.write("/mark", "x");
  await created.start();
  await created.pause();
  assert.is(await created.files.readText("/mark"), "x");
  await created.resume();
  await created.stop({ force: true });
  assert.is(await created.files.readText("/mark"), "x");
  await created.delete();
  await rejects(created.files.readText("/mark"), "NOT_FOUND");
  await w.sandbox.pause();
  await rejects(w.files.readText("/etc/passwd"), "INVALID_STATE");
  await w.sandbox.resume();
});

s.test("a signal ends a call at once, and a guest without files is UNSUPPORTED", async () => {
  await using w = await running();
  w.world.failNext("agent.readFile", { when: "before", hang: true });
  const control = new AbortController();
  const reading = w.files.read("/etc/passwd", { signal: control.signal });
  control.abort();
  await rejects(reading, "ABORTED");
  await using kata = await running({ preset: { agent: { extras: false } } });
  await rejects(kata.files.read("/etc/passwd"), "UNSUPPORTED");
});

s.test("a watch begins at once, gives events in order, and ends with its signal, its loop, and the container", async () => {
  await using w = await running();
  const watch = w.files.watch("/tmp");
  await watch.ready;
  await w.files.write("/tmp/a", "1");
  await w.files.write("/tmp/a", "2", { append: true });
  await w.files.remove("/tmp/a");
  const seen: string[] = [];
  for await (const { type, name } of watch) {
    seen.push(`${type} ${name}`);
    if (seen.length === 3) break;
  }
  assert.equal(seen, ["rename a", "change a", "rename a"]);
  assert.is(w.world.calls.filter(({ operation, outcome }) => operation === "agent.unwatchDirectory" && outcome === "done").length, 1);
  const control = new AbortController();
  const signalled = w.files.watch("/tmp", { signal: control.signal });
  await signalled.ready;
  const ending = bytesOf(signalled as never);
  control.abort();
  assert.is((await ending).length, 0);
  await rejects(w.files.watch("/nothing")[Symbol.asyncIterator]().next(), "NOT_FOUND");
  const last = w.files.watch("/tmp");
  await last.ready;
  const end = (async () => {
    for await (const _ of last);
  })();
  await w.web.stop({ force: true });
  await end;
});

type Entry = readonly [header: object, body?: string];
const tar = (...entries: readonly Entry[]) =>
  packTar(
    entries.map(([header, body]) => ({ header: { size: body?.length ?? 0, ...header }, ...(body !== undefined && { body }) })) as never,
  );
const archive = async (...entries: readonly Entry[]) => [await tar(...entries)];
const unpack = async (web: Container, ...entries: readonly Entry[]) => web.files.tarIn(await archive(...entries), "/target");

s.test("an archive is unpacked with modes, owners, times, links and directories; what is there stays", async () => {
  await using w = await running();
  await w.files.mkdir("/target");
  await w.files.write("/target/kept", "kept");
  await w.files.write("/target/link", "a file");
  const mtime = new Date(1_700_000_000_000);
  await unpack(
    w.web,
    [{ name: "./", type: "directory" }],
    [{ name: "d/", type: "directory", mode: 0o500, mtime }],
    [{ name: "d/file", mode: 0o4755, uid: 7, gid: 8, mtime }, "content"],
    [{ name: "implied/by/its/name" }, "x"],
    [{ name: "link", type: "symlink", linkname: "/anywhere" }],
    [{ name: "hard", type: "link", linkname: "d/file" }],
    [{ name: "d/file2", mtime }, "y".repeat(700_000)],
    [{ name: "twice" }, "first"],
    [{ name: "twice" }, "second"],
  );
  const { mode, uid, gid, modifiedMs, links } = await w.files.stat("/target/d/file");
  assert.equal([mode, uid, gid, modifiedMs, links], [0o4755, 7, 8, mtime.getTime(), 2]);
  assert.equal([(await w.files.stat("/target/d")).mode, (await w.files.stat("/target/d")).modifiedMs], [0o500, mtime.getTime()]);
  assert.is((await w.files.stat("/target/link", { follow: false })).target, "/anywhere");
  assert.is((await w.files.stat("/target/d/file2")).size, 700_000);
  assert.equal(await Promise.all(["kept", "implied/by/its/name", "twice"].map((name) => w.files.readText(`/target/${name}`))), [
    "kept",
    "x",
    "second",
  ]);
});

s.test("entries that have no place below the target are refused, and so is what is no whole archive", async () => {
  await using w = await running();
  for (const header of [
    { name: "../x" },
    { name: "a/../../x" },
    { name: "/etc/x" },
    { name: "d", type: "block-device" },
    { name: "d", type: "character-device" },
    { name: "f", type: "fifo" },
    { name: "h", type: "link", linkname: "../etc/passwd" },
    { name: "h", type: "link", linkname: "/etc/passwd" },
    { name: "." },
  ])
    assert.is((await rejects(unpack(w.web, [header]), "INVALID_INPUT")).data.path, "archive", JSON.stringify(header));
  const whole = await tar([{ name: "file" }, "x".repeat(5000)]);
  for (const broken of [whole.subarray(0, 3000), Buffer.from("no archive".repeat(200))])
    await rejects(w.files.tarIn([broken], "/target"), "INVALID_INPUT");
  const source = (async function* () {
    yield whole.subarray(0, 1000);
    throw new Error("the source broke");
  })();
  assert.match(String(await w.files.tarIn(source, "/target").catch((error) => error)), "the source broke");
});

s.test("a source that says nothing more keeps neither a signal nor a refused entry from ending the call", async () => {
  await using w = await running();
  const silent = async function* (...chunks: readonly Uint8Array[]) {
    yield* chunks;
    await new Promise(() => {});
  };
  const signal = () => AbortSignal.timeout(50);
  await rejects(w.files.write("/x", silent(Buffer.from("a")), { signal: signal() }), "ABORTED");
  await rejects(w.files.tarIn(silent(), "/target", { signal: signal() }), "ABORTED");
  const hostile = await tar([{ name: "../x" }], [{ name: "more" }, "x".repeat(2000)]);
  await rejects(w.files.tarIn(silent(hostile.subarray(0, 1024)), "/target"), "INVALID_INPUT");
});

s.test("an archive's links lead nowhere outside of the target, not even while it is unpacked", async () => {
  await using w = await running();
  await w.files.mkdir("/target/etc", { recursive: true });
  await unpack(
    w.web,
    [{ name: "up", type: "symlink", linkname: "../../etc" }],
    [{ name: "abs", type: "symlink", linkname: "/etc" }],
    [{ name: "up/a" }, "1"],
    [{ name: "abs/b" }, "2"],
  );
  assert.equal(
    (await w.files.list("/target/etc")).map(({ name }) => name),
    ["a", "b"],
  );
  assert.equal(
    (await w.files.list("/etc")).map(({ name }) => name),
    ["passwd"],
  );
});

s.test("tarOut() gives a directory with links and names of one file, or a single file; a reader that stops ends it", async () => {
  await using w = await running();
  await unpack(
    w.web,
    [{ name: "a/b/file", mode: 0o600 }, "content"],
    [{ name: "a/same", type: "link", linkname: "a/b/file" }],
    [{ name: "a/l", type: "symlink", linkname: "../x" }],
  );
  await w.files.write("/target/large", Buffer.alloc(3_000_000, "z"));
  const entries = await unpackTar(await bytesOf(w.files.tarOut("/target")));
  assert.equal(
    entries.map(({ header: { name, type, linkname, mode }, data }) => [name, type, type === "file" ? mode : linkname, data?.length ?? 0]),
    [
      ["a/", "directory", "", 0],
      ["a/b/", "directory", "", 0],
      ["a/b/file", "file", 0o600, 7],
      ["a/l", "symlink", "../x", 0],
      ["a/same", "link", "a/b/file", 0],
      ["large", "file", 0o644, 3_000_000],
    ],
  );
  const single = await unpackTar(await bytesOf(w.files.tarOut("/target/a/b/file")));
  assert.equal(
    single.map(({ header }) => header.name),
    ["file"],
  );
  await rejects(bytesOf(w.files.tarOut("/nothing")), "NOT_FOUND");
  const stopped = w.files.tarOut("/target");
  for await (const _ of stopped) break;
  assert.ok(stopped.destroyed);
});

s.test("upload() and download() bring a tree of the host there and back", async () => {
  await using w = await running();
  const tree = join(w.directory, "tree");
  await mkdir(join(tree, "d/e"), { recursive: true });
  await writeFile(join(tree, "d/file"), "content", { mode: 0o640 });
  await symlink("d/file", join(tree, "link"));
  await w.files.upload(tree, "/up/here");
  const { mode, uid } = await w.files.stat("/up/here/d/file");
  assert.equal([mode, uid], [0o640, 0]);
  await w.files.write("/up/here/setuid", "x", { mode: 0o4755 });
  await w.files.download("/up/here", join(w.directory, "down"));
  assert.is(await readFile(join(w.directory, "down/link"), "utf8"), "content");
  assert.equal((await readdir(join(w.directory, "down"))).sort(), ["d", "link", "setuid"]);
  assert.is((await stat(join(w.directory, "down/setuid"))).mode & 0o7777, 0o755);
  assert.is(
    (await rejects(w.files.download("/up/here", join(w.directory, "small"), { maxBytes: 3 }), "GUEST_PROTOCOL")).data.what,
    "a directory of the container",
  );
});

for (const [what, linkname] of Object.entries({ "an absolute link": "/etc/passwd", "a link upwards": "../outside" })) {
  s.test(`download() refuses ${what} and writes nothing outside`, async () => {
    await using w = await running();
    await unpack(w.web, [{ name: "out", type: "symlink", linkname }]);
    await rejects(w.files.download("/target", join(w.directory, "down")), "GUEST_PROTOCOL");
    assert.equal((await readdir(w.directory)).includes("outside"), false);
  });
}

s.test("whatever a guest lists, nothing is written outside of the host's directory", async () => {
  await using w = await running();
  const target = join(w.directory, "down");
  const one = (name: string, more: object = {}) => ({
    name,
    type: "file",
    size: 1,
    mode: 0o644,
    uid: 0,
    gid: 0,
    modifiedMs: 0,
    identity: name,
    links: 1,
    ...more,
  });
  for (const entries of [
    [one("../outside")],
    [one("a/../../outside")],
    [one("/outside")],
    [one("d", { type: "link", size: 0 }), one("d/x")],
    [one("d", { type: "link", size: 0 }), one("d", { type: "directory" })],
  ]) {
    let asked = 0;
    const files = {
      stat: async (_: unknown, { follow }: { follow: boolean }) =>
        follow ? one("", { type: "directory" }) : one("", { type: "link", target: "../outside" }),
      list: async () => ({ entries: asked++ === 0 ? entries : [one("x")], more: false }),
      read: async () => ({ data: Buffer.from("x"), identity: "1" }),
    } as unknown as AgentFiles;
    const access = {
      container: "web",
      place: (path: string, base?: string) => ({ container: "web", path, ...(base !== undefined && { base }) }),
      ask: (_: unknown, work: never) => (work as (files: AgentFiles, call: unknown) => Promise<never>)(files, {}),
      copy: async () => {},
    };
    const error = await download(access, "/x", target, {}).catch((reason: unknown) => reason);
    assert.ok(isTapvisorError(error) && ["GUEST_PROTOCOL", "FILE_FAILED"].includes(error.code), `${JSON.stringify(entries)}: ${error}`);
    assert.equal((await readdir(w.directory)).includes("outside"), false, JSON.stringify(entries));
  }
});

s.run();
