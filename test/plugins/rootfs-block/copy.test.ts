import { randomBytes } from "node:crypto";
import {
  chmod,
  chown,
  link,
  lstat,
  mkdir,
  readdir,
  readFile,
  readlink,
  stat,
  symlink,
  truncate,
  utimes,
  writeFile,
} from "node:fs/promises";
import { join } from "node:path";
import { quietCall } from "tapvisor/testing";
import * as assert from "uvu/assert";
import { rejects } from "../../support/rejects.ts";
import { suite } from "../../support/suite.ts";
import { copyWorld, directoryIntent, run, until } from "./world.ts";

const s = suite("rootfs-block: copies of directories");
const isRoot = process.geteuid?.() === 0;
const MiB = 2 ** 20;

s.test("the image has the directory's files with their modes, times, links and odd names", async () => {
  await using w = await copyWorld();
  const odd = Buffer.from(`${w.tree}/\xff\xfe`, "latin1");
  for (const name of ["a b", "new\nline", "-dash"]) await writeFile(join(w.tree, name), name);
  await writeFile(odd, "bytes");
  await mkdir(join(w.tree, "empty directory"));
  await chmod(join(w.tree, "a b"), 0o4751);
  await utimes(join(w.tree, "a b"), 1_000_000_000, 1_000_000_000);
  await link(join(w.tree, "a b"), join(w.tree, "same"));
  await run("mkfifo", join(w.tree, "fifo"));
  const grant = await w.acquire(directoryIntent(w.tree));
  const out = await w.contents(grant);
  const names = (await readdir(out, { encoding: "buffer" })).map((name) => name.toString("latin1")).sort();
  assert.equal(names, ["-dash", "a b", "empty directory", "fifo", "new\nline", "same", "\xff\xfe"]);
  for (const name of ["a b", "new\nline", "-dash"]) assert.is(await readFile(join(out, name), "utf8"), name);
  assert.is(await readFile(Buffer.from(`${out}/\xff\xfe`, "latin1"), "utf8"), "bytes");
  const { mode, mtimeMs } = await stat(join(out, "a b"));
  assert.is((mode & 0o7777).toString(8), "4751");
  assert.is(mtimeMs, 1_000_000_000_000);
  assert.match(await run("dump.erofs", "--path=/same", (grant as { path: string }).path), /Links: 2 /);
  assert.ok((await lstat(join(out, "fifo"))).isFIFO());
});

s.test("files belong to whom they belong on the host; all to root when the engine is not root", async () => {
  await using w = await copyWorld();
  await writeFile(join(w.tree, "file"), "");
  if (isRoot) await chown(join(w.tree, "file"), 1234, 5678);
  const { path } = (await w.acquire(directoryIntent(w.tree))) as { path: string };
  assert.match(await run("dump.erofs", "--path=/file", path), isRoot ? /Uid: 1234 +Gid: 5678 / : /Uid: 0 +Gid: 0 /);
});

s.test("a link stays a link, wherever it leads: nothing outside the directory is copied", async () => {
  await using w = await copyWorld();
  await writeFile(join(w.files, "secret"), "secret");
  const links = { absolute: "/etc/hostname", outside: "../secret", parent: "..", nowhere: "nowhere" };
  for (const [name, target] of Object.entries(links)) await symlink(target, join(w.tree, name));
  const out = await w.contents(await w.acquire(directoryIntent(w.tree)));
  for (const [name, target] of Object.entries(links)) assert.is(await readlink(join(out, name)), target);
});

s.test("the copy is the container's own: later changes are not in it, and its directory is private", async () => {
  await using w = await copyWorld();
  await writeFile(join(w.tree, "file"), "before");
  const grant = await w.acquire(directoryIntent(w.tree));
  await writeFile(join(w.tree, "file"), "after");
  assert.is(await readFile(join(await w.contents(grant), "file"), "utf8"), "before");
  assert.is((await stat(join(w.state, "rootfs-block", "box@web"))).mode & 0o777, 0o700);
});

s.test("the same tree gives the same bytes, at another time and in another container", async () => {
  await using w = await copyWorld();
  for (const name of ["one", "two"]) await writeFile(join(w.tree, name), randomBytes(10_000));
  const images = [];
  for (const container of ["a", "b"]) {
    const grant = await w.acquire(directoryIntent(w.tree, { container }));
    images.push(await readFile((grant as { path: string }).path));
  }
  assert.ok(images[0]?.equals(images[1] as Buffer));
});

s.test("of two copies made at once each is whole, and the release of one leaves the other", async () => {
  await using w = await copyWorld();
  await writeFile(join(w.tree, "file"), randomBytes(5 * MiB));
  const intents = ["one", "two"].map((container) => directoryIntent(w.tree, { container }));
  const [first, second] = await Promise.all(intents.map((intent) => w.acquire(intent)));
  assert.ok(first && second);
  await w.release(intents[0] as (typeof intents)[0]);
  assert.equal(await w.left(), ["rootfs-block/box@two", "rootfs-block/box@two/image.erofs"]);
  assert.ok((await readFile(join(await w.contents(second), "file"))).equals(await readFile(join(w.tree, "file"))));
});

s.test("ids that could be confused have images of their own, and an id that is none is refused before anything is removed", async () => {
  await using w = await copyWorld();
  const pairs = [
    { sandbox: "a.b", container: "c" },
    { sandbox: "a", container: "b.c" },
  ];
  for (const pair of pairs) await w.acquire(directoryIntent(w.tree, pair));
  await w.release(directoryIntent(w.tree, pairs[0]));
  assert.equal(await w.left(), ["rootfs-block/a@b.c", "rootfs-block/a@b.c/image.erofs"]);
  for (const container of ["../..", "", "/"]) {
    await rejects(w.release(directoryIntent(w.tree, { container })), "INVALID_INPUT");
    await rejects(w.acquire(directoryIntent(w.tree, { container })), "INVALID_INPUT");
  }
  assert.is((await w.left()).length, 2);
});

s.test("holes take no space in the image", async () => {
  await using w = await copyWorld();
  const sparse = join(w.tree, "sparse");
  await writeFile(sparse, "start");
  await truncate(sparse, 200 * MiB);
  const grant = await w.acquire(directoryIntent(w.tree));
  const { size, blocks } = await stat((grant as { path: string }).path);
  assert.ok(size < MiB && blocks * 512 < MiB, `the image has ${size} bytes`);
  const out = await w.contents(grant);
  assert.is((await stat(join(out, "sparse"))).size, 200 * MiB);
  assert.is((await readFile(join(out, "sparse"))).toString("latin1", 0, 6), "start\0");
});

s.test("the caller's signal ends mkfs.erofs and leaves nothing", async () => {
  await using w = await copyWorld();
  await w.makeSlow();
  const control = new AbortController();
  const copying = w.acquire(directoryIntent(w.tree), quietCall({ signal: control.signal }));
  await until(w.writing);
  assert.is((await w.programs()).length, 1);
  control.abort(new Error("enough"));
  await rejects(copying, "ABORTED");
  assert.equal(await w.programs(), []);
  assert.equal(await w.left(), []);
});

s.test("a release while the copy is made ends it: neither image nor program is there afterwards", async () => {
  await using w = await copyWorld();
  await w.makeSlow();
  const copying = rejects(w.acquire(directoryIntent(w.tree)), "ABORTED");
  await until(w.writing);
  await w.release(directoryIntent(w.tree));
  assert.equal(await w.programs(), []);
  assert.equal(await w.left(), []);
  await copying;
});

s.run();
