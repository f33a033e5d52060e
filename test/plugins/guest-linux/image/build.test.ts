import { mkdir, readdir, readFile, utimes } from "node:fs/promises";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { buildGuest, type GuestPlan } from "../../../../plugins/guest-linux/image/build.ts";
import { hostFile, symlinkTo, textFile, treeOf } from "../../../../plugins/guest-linux/image/tree.ts";
import { suite } from "../../../support/suite.ts";
import { tempDirectory } from "../../../support/temp.ts";
import { call, environment, failureOf, kernelFile, writeFiles, writeProgram } from "../fixtures.ts";

const s = suite("guest-linux build");

async function plan(directory: string, agent = "agent"): Promise<GuestPlan> {
  await writeFiles(directory, { kernel: kernelFile(), module: "module", node: "node".repeat(10_000), agent });
  return {
    kernel: join(directory, "kernel"),
    initrd: treeOf([
      ["init", textFile("#!/bin/sh\n", { executable: true })],
      ["modules/a.ko", hostFile(join(directory, "module"))],
    ]),
    image: treeOf([
      ["usr/bin/node", hostFile(join(directory, "node"), { executable: true })],
      ...["a", "b", "c"].map((name) => [`usr/bin/${name}`, symlinkTo("node")] as const),
      ["usr/lib/agent", hostFile(join(directory, "agent"))],
    ]),
  };
}

s.test("the same inputs give byte-identical files, whatever their times, the umask and the directory", async () => {
  await using temp = await tempDirectory();
  const [one, two] = [join(temp.path, "one"), join(temp.path, "two")];
  const first = await buildGuest(join(one, "cache"), await plan(one), call());
  await mkdir(two);
  const again = await plan(two);
  await utimes(join(two, "node"), 1, 1);
  const before = process.umask(0o077);
  const second = await buildGuest(join(two, "cache"), again, call()).finally(() => process.umask(before));
  assert.is(second.content, first.content);
  for (const file of ["kernel", "initrd", "image"] as const) {
    assert.ok((await readFile(first.files[file])).equals(await readFile(second.files[file])), file);
  }
});

s.test("another input gives another entry beside the first", async () => {
  await using temp = await tempDirectory();
  const cache = join(temp.path, "cache");
  const first = await buildGuest(cache, await plan(temp.path), call());
  const second = await buildGuest(cache, await plan(temp.path, "another agent"), call());
  assert.is.not(second.content, first.content);
  assert.equal((await readdir(cache)).sort(), [first.content, second.content].sort());
});

s.test("two builds at once both succeed with one entry and leave nothing else", async () => {
  await using temp = await tempDirectory();
  const cache = join(temp.path, "cache");
  const wanted = await plan(temp.path);
  const [one, two] = await Promise.all([buildGuest(cache, wanted, call()), buildGuest(cache, wanted, call())]);
  assert.equal(one, two);
  assert.equal(await readdir(cache), [one.content]);
});

s.test("a failing mkfs.erofs is reported with its words and leaves nothing", async () => {
  await using temp = await tempDirectory();
  await writeProgram(join(temp.path, "bin/mkfs.erofs"), "echo 'no space left on device' >&2; exit 1");
  using _path = environment({ PATH: join(temp.path, "bin") });
  const cache = join(temp.path, "cache");
  const error = await failureOf(buildGuest(cache, await plan(temp.path), call()));
  assert.is(error.code, "INTERNAL");
  assert.match(error.message, "no space left on device");
  assert.equal(await readdir(cache), []);
});

s.test("an input that vanished fails the build and leaves nothing", async () => {
  await using temp = await tempDirectory();
  const cache = join(temp.path, "cache");
  const wanted = await plan(temp.path);
  const gone = { ...wanted, image: treeOf([...wanted.image, ["x", hostFile(join(temp.path, "gone"))]]) };
  assert.match((await failureOf(buildGuest(cache, gone, call()))).message, "gone");
  assert.equal(await readdir(cache), []);
});

s.test("a caller who gives up gets ABORTED and nothing is left", async () => {
  await using temp = await tempDirectory();
  const cache = join(temp.path, "cache");
  const error = await failureOf(buildGuest(cache, await plan(temp.path), call(AbortSignal.abort())));
  assert.is(error.code, "ABORTED");
  assert.equal(await readdir(cache), []);
});

s.run();
