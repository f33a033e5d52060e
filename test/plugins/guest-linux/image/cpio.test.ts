import { execFileSync } from "node:child_process";
import { lstat, readFile, readlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { cpio } from "../../../../plugins/guest-linux/image/cpio.ts";
import { directory, hostFile, symlinkTo, textFile, treeOf } from "../../../../plugins/guest-linux/image/tree.ts";
import { suite } from "../../../support/suite.ts";
import { tempDirectory } from "../../../support/temp.ts";

const s = suite("guest-linux cpio");

s.test("another cpio lists and unpacks what was put in, bytes, modes and links alike", async () => {
  await using temp = await tempDirectory();
  const source = join(temp.path, "source");
  await writeFile(source, Buffer.from([0, 1, 2, 255, 10]), { mode: 0o600 });
  const archive = await cpio(
    treeOf([
      ["init", textFile("#!/bin/sh\n", { executable: true })],
      ["lib/odd name.ko", hostFile(source)],
      ["bin/sh", symlinkTo("busybox")],
      ["proc", directory],
      ["empty", textFile("")],
    ]),
  );
  const options = { cwd: temp.path, input: archive } as const;
  const listed = execFileSync("busybox", ["cpio", "-t"], { ...options, encoding: "utf8", stdio: ["pipe", "pipe", "ignore"] });
  assert.equal(listed.trim().split("\n"), ["bin", "bin/sh", "empty", "init", "lib", "lib/odd name.ko", "proc"]);
  execFileSync("busybox", ["cpio", "-i", "-m"], { ...options, stdio: ["pipe", "ignore", "ignore"] });
  assert.equal([...(await readFile(join(temp.path, "lib/odd name.ko")))], [0, 1, 2, 255, 10]);
  assert.is((await lstat(join(temp.path, "init"))).mode & 0o777, 0o755);
  assert.is((await lstat(join(temp.path, "lib/odd name.ko"))).mode & 0o777, 0o644, "the source's own mode has no say");
  assert.is(await readlink(join(temp.path, "bin/sh")), "busybox");
  assert.is((await lstat(join(temp.path, "init"))).mtimeMs, 0);
});

s.test("the same tree gives the same bytes, in whatever order it was said", async () => {
  const nodes = [
    ["a/b", textFile("1")],
    ["a", directory],
    ["c", symlinkTo("a")],
  ] as const;
  assert.equal(await cpio(treeOf(nodes)), await cpio(treeOf([...nodes].reverse())));
});

s.run();
