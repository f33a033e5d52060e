import { mkdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { hostFile, symlinkTo, type TreeNode, textFile, treeOf, writeTree } from "../../../../plugins/guest-linux/image/tree.ts";
import { suite } from "../../../support/suite.ts";
import { tempDirectory } from "../../../support/temp.ts";

const s = suite("guest-linux tree");

s.test("treeOf() adds parents, before their children", () => {
  assert.equal([...treeOf([["usr/lib/x/y", textFile("")]]).keys()], ["usr", "usr/lib", "usr/lib/x", "usr/lib/x/y"]);
});

s.test("the digest is of paths, kinds, modes, targets and contents, and of nothing else", async () => {
  await using temp = await tempDirectory();
  const source = join(temp.path, "source");
  let count = 0;
  const digest = async (nodes: Iterable<readonly [string, TreeNode]>): Promise<string> => {
    const into = join(temp.path, `tree${count++}`);
    await mkdir(into);
    return writeTree(treeOf(nodes), into);
  };
  await writeFile(source, "hello", { mode: 0o600 });
  const base = await digest([["a", hostFile(source)]]);
  assert.is(await digest([["a", textFile("hello")]]), base);
  const others = [
    [["b", textFile("hello")]],
    [["a", textFile("hello", { executable: true })]],
    [["a", textFile("hellp")]],
    [["a", symlinkTo("hello")]],
    [["a", symlinkTo("hellp")]],
    [["a/b", textFile("hello")]],
  ] as const;
  const digests = await Promise.all(others.map(digest));
  assert.is(new Set([base, ...digests]).size, others.length + 1);
});

s.test("modes do not depend on the umask", async () => {
  await using temp = await tempDirectory();
  const before = process.umask(0o077);
  try {
    await writeTree(treeOf([["d/x", textFile("", { executable: true })]]), temp.path);
  } finally {
    process.umask(before);
  }
  assert.is((await stat(join(temp.path, "d"))).mode & 0o777, 0o755);
  assert.is((await stat(join(temp.path, "d/x"))).mode & 0o777, 0o755);
});

s.run();
