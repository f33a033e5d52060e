import { randomBytes } from "node:crypto";
import { chmod, mkdir, mkdtemp, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { rejects } from "../../support/rejects.ts";
import { suite } from "../../support/suite.ts";
import { copyWorld, directoryIntent, run } from "./world.ts";

const s = suite("rootfs-block: copies that cannot be made");
const isRoot = process.geteuid?.() === 0;
const NOBODY = 65534;
const MiB = 2 ** 20;

s.test("shared access is UNSUPPORTED: a copy cannot be written back", async () => {
  await using w = await copyWorld();
  await rejects(w.acquire(directoryIntent(w.tree, { access: "shared" })), "UNSUPPORTED");
  assert.equal(await w.left(), []);
});

s.test("more holes than can be read in a sensible time are INVALID_INPUT naming the file, and nothing is written", async () => {
  await using w = await copyWorld();
  await mkdir(join(w.tree, "log"));
  for (const [name, size] of [
    ["small", 1],
    ["lastlog", 65 * 2 ** 30],
  ] as const) {
    await writeFile(join(w.tree, "log", name), "");
    await truncate(join(w.tree, "log", name), size);
  }
  assert.match((await rejects(w.acquire(directoryIntent(w.tree)), "INVALID_INPUT")).message, /tree\/log\/lastlog" has 65GiB of holes/);
  assert.equal(await w.left(), []);
});

s.test("a directory that holds, or lies in, the engine's state is refused, and so is the host's root", async () => {
  await using w = await copyWorld();
  await mkdir(join(w.state, "inner"));
  for (const path of [w.top, w.state, join(w.state, "inner")]) {
    assert.match((await rejects(w.acquire(directoryIntent(path)), "INVALID_INPUT")).message, /engine's own state/);
  }
  assert.match((await rejects(w.acquire(directoryIntent("/")), "INVALID_INPUT")).message, /host's own root/);
});

s.test("what is no directory is INVALID_INPUT naming rootfs and the value", async () => {
  await using w = await copyWorld();
  await writeFile(join(w.files, "file"), "");
  await symlink("loop", join(w.files, "loop"));
  for (const [path, text] of [
    [join(w.files, "missing"), /missing does not exist/],
    [join(w.files, "file"), /file is not a directory/],
    [join(w.files, "loop"), /leads to itself/],
  ] as const) {
    const { data, message } = await rejects(w.acquire(directoryIntent(path)), "INVALID_INPUT");
    assert.match(message, text);
    assert.equal([data.path, data.value], ["rootfs", path]);
  }
});

s.test("a file that this user cannot read is INVALID_INPUT naming the file", async () => {
  await using w = await copyWorld();
  const open = await mkdtemp("/tmp/tv-"); // everybody gets there; the tests' own place is for their user alone
  try {
    await chmod(open, 0o755);
    await writeFile(join(open, "shadow"), "secret", { mode: 0 });
    if (isRoot) process.seteuid?.(NOBODY); // root can read everything
    const { message } = await rejects(w.acquire(directoryIntent(open)), "INVALID_INPUT");
    assert.match(message, /tv-\w+\/shadow cannot be opened by this user/);
  } finally {
    if (isRoot) process.seteuid?.(0);
    await rm(open, { recursive: true });
  }
  assert.equal(await w.left(), []);
});

/** Runs `work` with other programs found first: scripts of this name and text. */
async function withProgram(directory: string, script: string, work: () => Promise<void>): Promise<void> {
  const { PATH } = process.env;
  await mkdir(directory);
  await writeFile(join(directory, "mkfs.erofs"), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  process.env.PATH = `${directory}:${PATH}`;
  try {
    await work();
  } finally {
    process.env.PATH = PATH;
  }
}

s.test("a mkfs.erofs that fails half-way is INTERNAL with its last words, and leaves nothing", async () => {
  await using w = await copyWorld();
  const script = 'for word; do case $word in *.part) echo half >"$word" ;; esac; done; echo "No space left" >&2; exit 1';
  await withProgram(join(w.files, "bin"), script, async () => {
    const error = await rejects(w.acquire(directoryIntent(w.tree)), "INTERNAL");
    assert.match(error.message, /mkfs.erofs failed: No space left$/);
    assert.equal(await w.left(), []);
  });
  await withProgram(join(w.files, "bin2"), "kill -9 $$", async () => {
    assert.match((await rejects(w.acquire(directoryIntent(w.tree)), "INTERNAL")).message, /ended by SIGKILL/);
  });
});

s.test("a host without the programs is HOST_MISSING naming the package, and leaves nothing", async () => {
  await using w = await copyWorld();
  const { PATH } = process.env;
  process.env.PATH = "/nonexistent";
  try {
    const error = await rejects(w.acquire(directoryIntent(w.tree)), "HOST_MISSING");
    assert.match(error.hint ?? "", /apt-get install (erofs-utils|util-linux)/);
  } finally {
    process.env.PATH = PATH;
  }
  assert.equal(await w.left(), []);
});

const SMALL = "a disk that is too small is HOST_LIMIT with what is needed and what is there, and nothing is written";
const BELOW = "a directory with another file system mounted below it is refused, naming the place";
if (!isRoot) for (const title of [SMALL, BELOW]) s.skip(title, "only root can mount");
else {
  s.test(SMALL, async () => {
    await using w = await copyWorld();
    await writeFile(join(w.tree, "file"), randomBytes(3 * MiB));
    await run("mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", w.state);
    try {
      const { data } = await rejects(w.acquire(directoryIntent(w.tree)), "HOST_LIMIT");
      assert.ok(data.wanted > 3 * MiB && data.wanted < 4 * MiB && data.available > MiB && data.available <= 2 * MiB);
      assert.equal(await w.left(), []);
    } finally {
      await run("umount", w.state);
    }
  });

  s.test(BELOW, async () => {
    await using w = await copyWorld();
    const below = join(w.tree, "a place");
    await mkdir(below);
    await run("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", below);
    try {
      assert.match((await rejects(w.acquire(directoryIntent(w.tree)), "INVALID_INPUT")).message, /tree\/a place is mounted below it/);
      await w.acquire(directoryIntent(below)); // a mounted directory itself is as good as any
    } finally {
      await run("umount", below);
    }
  });
}

s.run();
