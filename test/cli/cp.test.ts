import { chmod, mkdir, readdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Container } from "tapvisor";
import * as assert from "uvu/assert";
import { copyIn } from "../../src/cli/copy-in.ts";
import { copyOut } from "../../src/cli/copy-out.ts";
import { copyPlace, DASH } from "../../src/cli/copy-place.ts";
import { cli } from "../support/cli.ts";
import { fakeEngine } from "../support/fake-engine.ts";
import { suite } from "../support/suite.ts";
import { tempDirectory } from "../support/temp.ts";

const s = suite("tapvisor cp");
const NEVER = new AbortController().signal;

async function world() {
  const fake = await fakeEngine();
  const sandbox = await fake.engine.runSandbox({ id: "box" });
  const web = await sandbox.run({ id: "web", rootfs: fake.rootfs, command: ["sleep", "60"] });
  const host = await tempDirectory();
  const at = (name: string) => join(host.path, name);
  await mkdir(at("tree/deep"), { recursive: true });
  await writeFile(at("tree/deep/leaf"), "leaf");
  await writeFile(at("note"), "note");
  await chmod(at("note"), 0o750);
  return {
    web,
    at,
    into: (source: string, target: string, owners = false) => copyIn(web, at(source), target, { owners, signal: NEVER }),
    out: (source: string, target: string) => copyOut(web, source, at(target), NEVER),
    async [Symbol.asyncDispose]() {
      await host[Symbol.asyncDispose]();
      await fake[Symbol.asyncDispose]();
    },
  };
}

async function failure(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => assert.unreachable("it did not fail"),
    (error: Error) => error.message,
  ) as Promise<string>;
}

s.test("a word names a place in a container, on this host, or a standard stream", () => {
  assert.equal(copyPlace("box/web:/etc/a:b"), { kind: "container", target: "box/web", path: "/etc/a:b" });
  assert.equal(copyPlace("box:/"), { kind: "container", target: "box", path: "/" });
  for (const path of ["note", "./box:/etc", "/srv/box:/etc", ":/x"]) assert.equal(copyPlace(path), { kind: "host", path });
  assert.equal(copyPlace(DASH), { kind: "stream" });
  assert.throws(() => copyPlace("box:etc"), /absolute path/);
});

s.test("a file goes in under the name that is given, or under its own into a directory that is there", async () => {
  await using w = await world();
  await w.into("note", "/etc/renamed");
  await w.into("note", "/etc");
  await w.into("note", "/etc/", true);
  assert.is(await w.web.files.readText("/etc/renamed"), "note");
  assert.is(await w.web.files.readText("/etc/note"), "note");
  const { mode, uid } = await w.web.files.stat("/etc/note");
  assert.equal([mode, uid], [0o750, process.getuid?.()]);
  assert.match(await failure(w.into("note", "/none/")), "no such directory");
  assert.match(await failure(w.into("missing", "/etc")), /Cannot copy ".*missing": ENOENT/);
});

s.test("a directory goes in as a new one, into one that is there, and what is in it alone with /. at its end", async () => {
  await using w = await world();
  await w.into("tree", "/new");
  await w.into("tree", "/etc");
  await w.web.files.mkdir("/flat");
  await w.into("tree", "/flat");
  await copyIn(w.web, `${w.at("tree")}/.`, "/flat", { owners: false, signal: NEVER });
  for (const path of ["/new/deep/leaf", "/etc/tree/deep/leaf", "/flat/tree/deep/leaf", "/flat/deep/leaf"])
    assert.is(await w.web.files.readText(path), "leaf", path);
});

s.test("a file comes out under the name that is given, or under its own into a directory; it is not set-user-id here", async () => {
  await using w = await world();
  await w.web.files.write("/srv-note", "from inside", { mode: 0o4755 });
  await w.out("/srv-note", "given");
  await w.out("/srv-note", "tree");
  assert.is(await readFile(w.at("given"), "utf8"), "from inside");
  assert.is(await readFile(w.at("tree/srv-note"), "utf8"), "from inside");
  assert.is((await stat(w.at("given"))).mode & 0o7000, 0);
  await symlink(w.at("note"), w.at("link"));
  await w.out("/srv-note", "link");
  assert.is(await readFile(w.at("note"), "utf8"), "from inside", "a link is followed, as by cp");
  assert.match(await failure(w.out("/srv-note", "none/")), "no such directory");
  assert.match(await failure(copyOut(w.web, "/srv-note", "/dev/null", NEVER)), "it is there and no file");
});

s.test("a directory comes out whole, and in place of a file fails", async () => {
  await using w = await world();
  await w.into("tree", "/srv-tree");
  await w.out("/srv-tree", "copy");
  await w.out("/srv-tree", "copy");
  await w.out("/srv-tree/.", "copy");
  for (const path of ["copy/deep/leaf", "copy/srv-tree/deep/leaf"]) assert.is(await readFile(w.at(path), "utf8"), "leaf");
  await failure(w.out("/srv-tree", "note"));
  assert.is(await readFile(w.at("note"), "utf8"), "note");
});

s.test("a file that cannot be read to its end leaves nothing on the host, and what was there as it was", async () => {
  await using w = await world();
  const broken = {
    files: {
      stat: async () => ({ type: "file", size: 100, mode: 0o644 }),
      readStream: async function* () {
        yield Buffer.from("half");
        throw new Error("the guest broke off");
      },
    },
  } as unknown as Pick<Container, "files">;
  assert.is(await failure(copyOut(broken, "/x", w.at("note"), NEVER)), "the guest broke off");
  assert.is(await readFile(w.at("note"), "utf8"), "note");
  assert.equal((await readdir(w.at("."))).toSorted(), ["note", "tree"]);
  const huge = { files: { stat: async () => ({ type: "file", size: 5 * 2 ** 30, mode: 0o644 }) } } as unknown as Pick<Container, "files">;
  assert.match(await failure(copyOut(huge, "/x", w.at("huge"), NEVER)), "5GiB, more than 4GiB");
});

s.test("the command line refuses two places of one kind, and a path that is not absolute, with code 2", async () => {
  await using directory = await tempDirectory();
  for (const line of ["cp a b", "cp box:/a box:/b", "cp a box:b", "cp - -", "cp a"]) {
    const { exitCode, stderr } = await cli(line.split(" "), { cwd: directory.path });
    assert.is(exitCode, 2, `${line}: ${stderr}`);
  }
});

s.run();
