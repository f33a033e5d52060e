import { execFileSync, fork } from "node:child_process";
import { once } from "node:events";
import { access, link, lstat, mkdir, readdir, readFile, readlink, rm, symlink, unlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { status } from "@grpc/grpc-js";
import { ERRNO_KEY, type FileCalls, filesServiceDefinition as rpc } from "tapvisor/protocol";
import * as assert from "uvu/assert";
import { suite } from "../../../support/suite.ts";
import { type FakeGuest, fakeGuest, refusal } from "./support/fake-guest.ts";

const s = suite("guest agent: files");

/** A created container, and its files as calls: they are a directory of this host. */
async function withFiles() {
  const guest = await fakeGuest();
  await guest.call("CreateSandbox", { sandbox_id: "s" });
  await guest.call("CreateContainer", { container_id: "c", OCI: guest.spec(["sleep", "1000"]) });
  const ask = <Name extends keyof FileCalls>(name: Name, request: object, options?: Parameters<FakeGuest["raw"]>[2]) =>
    guest.raw(rpc[name] as never, request, options) as Promise<FileCalls[Name][1]>;
  const at = (path: string, base = "") => ({ place: { container_id: "c", path, base } });
  const errno = async (call: Promise<unknown>) => String((await refusal(call)).metadata.get(ERRNO_KEY)[0]);
  return {
    guest,
    ask,
    at,
    errno,
    inside: (path: string) => join(guest.rootfs, path),
    outside: (path: string) => join(guest.rootfs, "..", path),
    read: async (path: string, base?: string) => Buffer.from((await ask("ReadFile", { ...at(path, base), length: 1000 })).data).toString(),
    write: (path: string, text: string, base?: string) => ask("WriteFile", { ...at(path, base), data: Buffer.from(text), last: true }),
    [Symbol.asyncDispose]: () => guest[Symbol.asyncDispose](),
  };
}

/** The descriptors of this process that are open on files below a directory. */
async function openBelow(directory: string): Promise<string[]> {
  const fds = await readdir("/proc/self/fd");
  const paths = await Promise.all(fds.map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => "")));
  return paths.filter((path) => path.startsWith(directory));
}

s.test("every kind of link out of the root ends in the root, for reading, writing, listing, removing and renaming", async () => {
  await using w = await withFiles();
  await writeFile(w.outside("secret"), "of the guest");
  await mkdir(w.inside("d"));
  const links = { abs: w.outside("secret"), up: "../../secret", updir: "../..", magic: `/proc/self/cwd`, self: "." };
  for (const [name, target] of Object.entries(links)) await symlink(target, w.inside(`d/${name}`));
  for (const path of ["/d/abs", "/d/up", "/d/updir/secret", "/../secret", "/d/../../secret", "/d/magic/package.json"])
    assert.is(await w.errno(w.read(path)), "ENOENT", path);
  await w.write("/d/up", "written through the link");
  assert.is(await readFile(w.inside("secret"), "utf8"), "written through the link");
  assert.is(await readFile(w.outside("secret"), "utf8"), "of the guest");
  const { entries } = await w.ask("ListDirectory", w.at("/d/updir"));
  assert.equal(
    entries.map(({ name }) => name),
    ["d", "secret"],
  );
  await w.ask("RemoveFile", { ...w.at("/d/updir"), recursive: true });
  await w.ask("RenameFile", { ...w.at("/d/up"), to: "/../../moved" });
  assert.equal((await readdir(w.guest.rootfs)).sort(), ["d", "moved", "secret"]);
  assert.is(await w.read("/d/self/self/../secret"), "written through the link");
});

s.test("a base is a root of its own", async () => {
  await using w = await withFiles();
  await mkdir(w.inside("base/etc"), { recursive: true });
  await symlink("/etc", w.inside("base/abs"));
  await symlink("../../../..", w.inside("base/up"));
  await symlink("/base", w.inside("to-base"));
  for (const path of ["/abs/a", "/up/etc/b", "/../etc/c"]) await w.write(path, "x", "/to-base");
  assert.equal((await readdir(w.inside("base/etc"))).sort(), ["a", "b", "c"]);
  assert.is(await w.errno(w.read("/x", "/nowhere")), "ENOENT");
  await w.ask("MakeLink", { ...w.at("/hard", "/base"), target: "/../etc/a", hard: true });
  assert.is((await lstat(w.inside("base/hard"))).ino, (await lstat(w.inside("base/etc/a"))).ino);
});

s.test(
  "names that are exchanged for links out of the root while they are used lead nowhere",
  async () => {
    await using w = await withFiles();
    await mkdir(w.inside("race/real"), { recursive: true });
    await writeFile(w.inside("race/real/file"), "inside");
    await mkdir(w.outside("victim"));
    await writeFile(w.outside("victim/file"), "outside");
    await mkdir(w.inside("victim")); // what an absolute or ".." link may lead to instead
    const child = fork(join(import.meta.dirname, "support/file-exchanger.ts"), [w.inside("race"), w.outside("victim"), "../../victim"], {
      execArgv: ["--import", "tsx"],
      stdio: "ignore",
    });
    try {
      await once(child, "message");
      const seen = new Map<string, number>();
      const note = async (work: Promise<unknown>) => {
        const outcome = await work.then(String, (error) => String(error.metadata?.get(ERRNO_KEY)[0] ?? error.details));
        seen.set(outcome, (seen.get(outcome) ?? 0) + 1);
      };
      // Until the two have met: without a read of what was exchanged for the file the rounds would show nothing.
      for (let time = 0; time < 250 || (time < 5_000 && !seen.has("inside")); time++) {
        await Promise.all([
          note(w.read("/race/d/file")),
          ...Array.from({ length: 8 }, () => note(w.read("/race/f"))),
          note(w.write("/race/d/planted", "x").then(() => "written")),
          note(w.ask("MakeDirectory", { ...w.at("/race/d/made/deep"), recursive: true }).then(() => "made")),
          note(w.ask("RemoveFile", { ...w.at("/race/d"), recursive: true }).then(() => "removed")).then(() =>
            mkdir(w.inside("race/real")).then(
              () => {},
              () => {},
            ),
          ),
        ]);
      }
      assert.equal(await readdir(w.outside("victim")), ["file"]);
      assert.is(await readFile(w.outside("victim/file"), "utf8"), "outside");
      assert.not.ok(seen.has("outside"), "a file outside was read");
      assert.ok(seen.has("inside"), `nothing was exchanged: ${[...seen.keys()]}`);
    } finally {
      child.kill("SIGKILL");
    }
  },
  { timeoutMs: 120_000 },
);

s.test("a file takes its place with the last piece; before, it is beside it under a name of its own", async () => {
  await using w = await withFiles();
  const { staged } = await w.ask("WriteFile", { ...w.at("/f"), data: Buffer.from("one") });
  const [temporary = ""] = await readdir(w.guest.rootfs);
  assert.match(temporary, /^\.tapvisor-[0-9a-f]{16}$/);
  assert.is((await lstat(w.inside(temporary))).mode & 0o777, 0o600);
  await w.ask("WriteFile", { ...w.at("/f"), staged, offset: "3", data: Buffer.from("two"), last: true });
  assert.equal(await readdir(w.guest.rootfs), ["f"]);
  assert.is(await readFile(w.inside("f"), "utf8"), "onetwo");
  assert.is(await w.errno(w.ask("WriteFile", { ...w.at("/f"), staged, offset: "6", last: true })), "EBADF");
});

s.test("what is half written goes with its container, and nothing is open any more", async () => {
  await using w = await withFiles();
  await w.ask("WriteFile", { ...w.at("/f"), data: Buffer.from("one") });
  const { watch } = await w.ask("WatchDirectory", w.at("/"));
  const waiting = w.ask("NextFileEvents", { container_id: "c", watch });
  await w.ask("WriteFile", { ...w.at("/other"), data: Buffer.from("x"), last: true });
  assert.ok((await waiting).events.length > 0);
  const last = w.ask("NextFileEvents", { container_id: "c", watch });
  await w.guest.call("RemoveContainer", { container_id: "c" });
  for (let events = last; ; events = w.ask("NextFileEvents", { container_id: "c", watch })) {
    const { ended } = await events.catch(() => ({ ended: true })); // events of before may come first
    if (ended) break;
  }
  assert.equal(await readdir(w.guest.rootfs), ["other"]);
  assert.equal(await openBelow(w.guest.rootfs), []);
});

s.test("no descriptor stays open, whatever a call ends with", async () => {
  await using w = await withFiles();
  await mkdir(w.inside("a/b/c"), { recursive: true });
  await writeFile(w.inside("a/file"), "x");
  await symlink("loop", w.inside("a/loop"));
  for (const path of ["/a/b/c", "/a/file", "/a/loop/x", "/a/file/x", "/none/x", "/a/b/../../a/b/none"]) {
    for (const name of ["StatFile", "ListDirectory", "ReadFile", "RenameFile", "MakeLink", "SetAttributes"] as const)
      await w.ask(name, { ...w.at(path, "/a/.."), follow: true, length: 1, to: "/none/y", target: "/none/z", hard: true }).catch(() => {});
    await w.ask("MakeDirectory", { ...w.at(path), recursive: true }).catch(() => {});
    await w.ask("WriteFile", { ...w.at(path), data: Buffer.from("x"), offset: "5", last: true }).catch(() => {});
  }
  assert.equal(await openBelow(w.guest.rootfs), []);
});

s.test("a FIFO and a socket are never opened: reading and writing them is refused at once", async () => {
  await using w = await withFiles();
  execFileSync("mkfifo", [w.inside("fifo")]);
  for (const name of ["ReadFile", "WriteFile"] as const)
    assert.is(await w.errno(w.ask(name, { ...w.at("/fifo"), length: 1, last: true }, { timeoutMs: 5_000 })), "EINVAL");
  assert.is(await w.errno(w.ask("WriteFile", { ...w.at("/fifo"), mode: "APPEND", last: true }, { timeoutMs: 5_000 })), "EINVAL");
  assert.is((await w.ask("StatFile", w.at("/fifo"))).type, "FIFO");
  await w.ask("RemoveFile", w.at("/fifo"));
});

s.test("names that are not UTF-8 are not listed, and are removed with their directory", async () => {
  await using w = await withFiles();
  await mkdir(w.inside("d/e"), { recursive: true });
  for (const directory of ["d", "d/e"])
    await writeFile(Buffer.concat([Buffer.from(w.inside(`${directory}/`)), Buffer.from([0x66, 0xff])]), "x");
  await writeFile(w.inside("d/plain"), "x");
  assert.equal(
    (await w.ask("ListDirectory", w.at("/d"))).entries.map(({ name }) => name),
    ["e", "plain"],
  );
  await w.ask("RemoveFile", { ...w.at("/d"), recursive: true });
  assert.equal(await readdir(w.guest.rootfs), []);
});

s.test("a removal does not follow links, and one of a very deep tree is refused and not half a crash", async () => {
  await using w = await withFiles();
  await mkdir(w.outside("kept"));
  await mkdir(w.inside("d"));
  await symlink(w.outside("kept"), w.inside("d/out"));
  await link(w.inside("d/out"), w.inside("d/again"));
  await w.ask("RemoveFile", { ...w.at("/d"), recursive: true });
  await access(w.outside("kept"));
  await mkdir(w.inside(`deep${"/d".repeat(300)}`), { recursive: true });
  assert.is(await w.errno(w.ask("RemoveFile", { ...w.at("/deep"), recursive: true })), "ENAMETOOLONG");
  assert.is(await w.errno(w.read(`/deep${"/d".repeat(300)}`)), "ENAMETOOLONG");
  await rm(w.inside("deep"), { recursive: true });
});

s.test("what a container has mounted is refused while it does not run; a read-only root is not changed", async () => {
  await using w = await withFiles();
  const spec = w.guest.spec(["sleep", "1"], {
    Mounts: [{ destination: "/data/", source: "tmpfs", type: "tmpfs", options: [] }],
    Root: { Path: w.guest.rootfs, Readonly: true },
  });
  await w.guest.call("CreateContainer", { container_id: "m", OCI: spec });
  await mkdir(w.inside("data"));
  await symlink("/data", w.inside("way"));
  const at = (path: string) => ({ place: { container_id: "m", path, base: "" } });
  for (const path of ["/data", "/data/x", "/way/x"])
    assert.is(await w.errno(w.ask("StatFile", { ...at(path), follow: true })), "ENXIO", path);
  assert.is(await w.errno(w.ask("MakeDirectory", at("/new"))), "EROFS");
  assert.is((await w.ask("ListDirectory", at("/"))).entries.length, 2);
});

s.test(
  "requests that no client should make are refused: no place, no path, attributes that do not exist, an unknown container",
  async () => {
    await using w = await withFiles();
    const wrong = async (name: keyof FileCalls, request: object) => (await refusal(w.ask(name, request))).status;
    assert.is(await wrong("StatFile", {}), status.INVALID_ARGUMENT);
    for (const path of ["", "relative", "/nul\0", `/${"x".repeat(4096)}`])
      assert.is(await wrong("StatFile", w.at(path)), status.FAILED_PRECONDITION, path);
    assert.is(await wrong("StatFile", { place: { container_id: "x", path: "/", base: "" } }), status.NOT_FOUND);
    await w.write("/f", "x");
    for (const attributes of [{ mode: 0o10000 }, { uid: "-2" }, { gid: "4294967295" }, { modified_ms: "9223372036854775807" }])
      assert.is(await wrong("SetAttributes", { ...w.at("/f"), attributes }), status.INVALID_ARGUMENT, JSON.stringify(attributes));
    const many = await Promise.allSettled(Array.from({ length: 80 }, () => w.ask("WriteFile", { ...w.at("/g"), data: Buffer.from("x") })));
    assert.ok(many.some((each) => each.status === "rejected" && each.reason.code === status.RESOURCE_EXHAUSTED));
  },
);

s.test("a watch that is not read says that events were lost, and one whose directory goes ends", async () => {
  await using w = await withFiles();
  await mkdir(w.inside("d"));
  const { watch } = await w.ask("WatchDirectory", w.at("/d"));
  const next = () => w.ask("NextFileEvents", { container_id: "c", watch });
  for (let count = 0; count < 1200; count++) {
    await writeFile(w.inside(`d/${count}`), "");
    await unlink(w.inside(`d/${count}`));
  }
  const { events } = await next();
  assert.is(events[0]?.type, "OVERFLOW");
  assert.ok(events.length < 1200);
  await rm(w.inside("d"), { recursive: true });
  for (;;) if ((await next()).ended) break;
});

s.run();
