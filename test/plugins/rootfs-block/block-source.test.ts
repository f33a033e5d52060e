import { chmod, copyFile, mkdir, mkdtemp, readFile, realpath, rm, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join, relative } from "node:path";
import type { RootfsGrant } from "tapvisor/plugin";
import { quietCall } from "tapvisor/testing";
import * as assert from "uvu/assert";
import { rejects } from "../../support/rejects.ts";
import { suite } from "../../support/suite.ts";
import { intentOf, makeExt4, rootfsWorld, run } from "./world.ts";

const s = suite("rootfs-block: disks");
const NOBODY = 65534;
const isRoot = process.geteuid?.() === 0;

type Source = { readonly format?: "raw" | "qcow2"; readonly fstype?: string };

async function world() {
  const base = await rootfsWorld();
  const disk = await makeExt4(join(base.files, "disk.img"));
  const block = (path: string, source: Source = {}, access: "copy-on-write" | "readonly" | "shared" = "copy-on-write") =>
    base.acquire(intentOf({ kind: "block", path, ...source }, { access }));
  const file = async (name: string, bytes: string) => {
    await writeFile(join(base.files, name), bytes, "latin1");
    return join(base.files, name);
  };
  return { ...base, disk, block, file };
}

/** What a grant says, its identity aside. */
function said(grant: RootfsGrant) {
  const { extra, ...rest } = grant;
  assert.match(JSON.stringify(extra), /^\{"file":"\d+:\d+"\}$/);
  return rest;
}

const QCOW2 = `QFI\xfb\0\0\0\x03${"\0".repeat(104)}`;

s.test("grants the real path of an image named by an absolute path, a relative one and a link, for every access", async () => {
  await using w = await world();
  await symlink("disk.img", join(w.files, "link"));
  for (const access of ["copy-on-write", "readonly", "shared"] as const) {
    for (const path of [w.disk, relative(process.cwd(), w.disk), join(w.files, "link")]) {
      assert.equal(said(await w.block(path, {}, access)), { type: "block", path: w.disk, format: "raw", fstype: "ext4" });
    }
  }
});

s.test("looking at an image changes neither it nor the engine's state, and release leaves it", async () => {
  await using w = await world();
  const before = await readFile(w.disk);
  const intent = intentOf({ kind: "block", path: w.disk }, { access: "shared" });
  const grant = await w.acquire(intent);
  for (const known of [grant, undefined]) await w.holding.release({ intent, grant: known }, quietCall());
  assert.ok(before.equals(await readFile(w.disk)));
  assert.equal(await w.left(), []);
});

s.test("what is given goes before what is seen", async () => {
  await using w = await world();
  assert.equal(said(await w.block(w.disk, { fstype: "ext2" })), { type: "block", path: w.disk, format: "raw", fstype: "ext2" });
  const image = await w.file("image", QCOW2);
  const grant = await w.block(image, { fstype: "ext4", format: "raw" });
  assert.equal(said(grant), { type: "block", path: image, format: "raw", fstype: "ext4" });
});

s.test("a qcow2 image is known by its mark, and its file system has to be named", async () => {
  await using w = await world();
  const image = await w.file("image", QCOW2);
  assert.equal(said(await w.block(image, { fstype: "xfs" })), { type: "block", path: image, format: "qcow2", fstype: "xfs" });
  const error = await rejects(w.block(image), "INVALID_INPUT");
  assert.match(error.message, /fstype is needed/);
  assert.match(error.hint ?? "", /fstype/);
});

s.test("a qcow2 image that would make the VM read another file of the host is refused", async () => {
  await using w = await world();
  const backed = await w.file("backed", QCOW2.replace(/^(.{15})./s, "$1\x70"));
  const external = await w.file("external", QCOW2.replace(/^(.{79})./s, "$1\x04"));
  assert.match((await rejects(w.block(backed, { fstype: "ext4" }), "INVALID_INPUT")).message, /with a backing file/);
  for (const source of [{ fstype: "ext4" }, { fstype: "ext4", format: "qcow2" }] as const) {
    assert.match((await rejects(w.block(external, source), "INVALID_INPUT")).message, /with an external data file/);
  }
});

s.test("what is no image or device is INVALID_INPUT naming rootfs.block, the value, what was found and what is wanted", async () => {
  await using w = await world();
  const [directory, fifo, socket] = ["directory", "fifo", "socket"].map((name) => join(w.files, name)) as [string, string, string];
  await mkdir(directory);
  await run("mkfifo", fifo);
  const server = createServer().listen(socket);
  await symlink("loop", join(w.files, "loop"));
  for (const [path, text] of [
    [join(w.files, "missing"), /missing does not exist/],
    [join(w.disk, "below"), /below is not a directory/],
    [join(w.files, "loop"), /leads to itself/],
    [directory, /directory is a directory/],
    [fifo, /fifo is a FIFO/],
    [socket, /socket is a socket/],
    ["/dev/null", /null is a character device/],
    [await w.file("empty", ""), /empty is empty/],
    [await w.file("noise", "x".repeat(100_000)), /no known file system/],
    [await w.file("parted", `${"\0".repeat(512)}EFI PART`), /partition table/],
    [await w.file("both", `XFSB${"\0".repeat(0x1003c)}_BHRfS_M`), /several file systems/],
    ["/tmp/a\0b", /null bytes/],
  ] as const) {
    const { data, message } = await rejects(w.block(path), "INVALID_INPUT");
    assert.match(message, text);
    assert.match(message, /wanted an image file/);
    assert.equal([data.path, data.value], ["rootfs.block", path]);
  }
  server.close();
});

s.test("a given format that the file has not, and a file system's name that is none, are INVALID_INPUT", async () => {
  await using w = await world();
  assert.match((await rejects(w.block(w.disk, { format: "qcow2" }), "INVALID_INPUT")).message, /no qcow2 image/);
  for (const fstype of ["ext4,suid", "", "../x", "-o"]) {
    assert.is((await rejects(w.block(w.disk, { fstype }), "INVALID_INPUT")).data.path, "rootfs.fstype");
  }
});

s.test("an ext4 disk whose journal must be replayed is refused where it is only read, and granted where it is written", async () => {
  await using w = await world();
  await run("debugfs", "-w", "-R", "feature needs_recovery", w.disk);
  for (const access of ["copy-on-write", "readonly"] as const) {
    assert.match((await rejects(w.block(w.disk, {}, access), "INVALID_INPUT")).message, /not unmounted cleanly/);
    await rejects(w.block(w.disk, { fstype: "ext4" }, access), "INVALID_INPUT");
  }
  await w.block(w.disk, {}, "shared");
});

s.test("shared access to a file system that is never written to is UNSUPPORTED", async () => {
  await using w = await world();
  const squashed = await w.file("squashed", `hsqs${"\0".repeat(4096)}`);
  await rejects(w.block(squashed, {}, "shared"), "UNSUPPORTED");
  await w.block(squashed, {}, "readonly");
});

s.test("a file that this user cannot write is granted for reading and refused for shared access; one he cannot read, always", async () => {
  await using w = await world();
  const open = await mkdtemp("/tmp/tv-"); // everybody gets there; the tests' own place is for their user alone
  const disk = join(await realpath(open), "disk.img");
  const asAnybody = async <T>(mode: number, work: () => Promise<T>): Promise<T> => {
    await chmod(disk, mode);
    if (isRoot) process.seteuid?.(NOBODY); // root can read and write everything
    try {
      return await work();
    } finally {
      if (isRoot) process.seteuid?.(0);
    }
  };
  try {
    await copyFile(w.disk, disk);
    await chmod(open, 0o755);
    assert.is(said(await asAnybody(0o444, () => w.block(disk))).type, "block");
    const shared = await asAnybody(0o444, () => rejects(w.block(disk, {}, "shared"), "INVALID_INPUT"));
    assert.match(shared.message, /cannot be opened by this user .*writes to it/);
    assert.match((await asAnybody(0, () => rejects(w.block(disk), "INVALID_INPUT"))).message, /cannot be opened by this user/);
  } finally {
    await rm(open, { recursive: true });
  }
});

const device = async (path: string, ...options: readonly string[]) => {
  const name = (await run("losetup", "--find", "--show", ...options, path)).trim();
  return { name, [Symbol.asyncDispose]: async () => void (await run("losetup", "--detach", name)) };
};
const loops = isRoot && (await run("losetup", "--find").catch(() => "")) !== "";

const DEVICES = "a block device is granted; for shared access neither one that is write-protected nor one that the host itself has mounted";
if (!loops) s.skip(DEVICES, isRoot ? "this machine has no free loop device" : "only root can make a block device");
else {
  s.test(DEVICES, async () => {
    await using w = await world();
    await using loop = await device(w.disk);
    const path = await realpath(loop.name);
    for (const access of ["copy-on-write", "shared"] as const) {
      assert.equal(said(await w.block(loop.name, {}, access)), { type: "block", path, format: "raw", fstype: "ext4" });
    }
    await using protectedLoop = await device(w.disk, "--read-only");
    await w.block(protectedLoop.name);
    assert.match((await rejects(w.block(protectedLoop.name, {}, "shared"), "INVALID_INPUT")).message, /write-protected/);
    const mounted = join(w.files, "mounted");
    await mkdir(mounted);
    await run("mount", "-o", "ro", loop.name, mounted);
    try {
      assert.match((await rejects(w.block(loop.name, {}, "shared"), "INVALID_INPUT")).message, /in use on this host, mounted say/);
      await w.block(loop.name, {}, "readonly");
    } finally {
      await run("umount", mounted);
    }
  });
}

s.run();
