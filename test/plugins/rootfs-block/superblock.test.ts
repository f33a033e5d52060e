import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import * as assert from "uvu/assert";
import { HEAD_BYTES, readDiskHead } from "../../../plugins/rootfs-block/superblock.ts";
import { suite } from "../../support/suite.ts";
import { tempDirectory } from "../../support/temp.ts";
import { run } from "./world.ts";

const s = suite("superblock");
const NOTHING = { fileSystems: [], partitioned: false };

/** A disk with some bytes in some places. */
function disk(...marks: readonly (readonly [offset: number, bytes: string])[]): Buffer {
  const bytes = Buffer.alloc(HEAD_BYTES);
  for (const [offset, text] of marks) bytes.write(text, offset, "latin1");
  return bytes;
}

const found = (fstype: string, unclean = false) => ({ fileSystems: [{ fstype, unclean }], partitioned: false });

s.test("tells ext2, ext3 and ext4 apart on disks that mke2fs made", async () => {
  await using temporary = await tempDirectory();
  for (const fstype of ["ext2", "ext3", "ext4"]) {
    const image = join(temporary.path, fstype);
    await run("mke2fs", "-q", "-F", "-t", fstype, image, "8M");
    assert.equal(readDiskHead(await readFile(image)), found(fstype));
  }
});

s.test("an ext4 disk that mke2fs made as a journal device alone is no file system", async () => {
  await using temporary = await tempDirectory();
  const image = join(temporary.path, "journal");
  await run("mke2fs", "-q", "-F", "-O", "journal_dev", image, "8M");
  assert.equal(readDiskHead(await readFile(image)), NOTHING);
});

s.test("an ext4 disk whose journal is not replayed is unclean", async () => {
  await using temporary = await tempDirectory();
  const image = join(temporary.path, "ext4");
  await run("mke2fs", "-q", "-F", "-t", "ext4", image, "8M");
  await run("debugfs", "-w", "-R", "feature needs_recovery", image);
  assert.equal(readDiskHead(await readFile(image)), found("ext4", true));
});

s.test("knows an erofs disk that mkfs.erofs made, though it is shorter than what is looked at", async () => {
  await using temporary = await tempDirectory();
  await mkdir(join(temporary.path, "tree"));
  await writeFile(join(temporary.path, "tree", "file"), "text");
  await run("mkfs.erofs", "--quiet", join(temporary.path, "image"), join(temporary.path, "tree"));
  const bytes = await readFile(join(temporary.path, "image"));
  assert.ok(bytes.length < HEAD_BYTES);
  assert.equal(readDiskHead(bytes), found("erofs"));
});

s.test("knows squashfs, xfs and btrfs by their marks", () => {
  assert.equal(readDiskHead(disk([0, "hsqs"])), found("squashfs"));
  assert.equal(readDiskHead(disk([0, "XFSB"])), found("xfs"));
  assert.equal(readDiskHead(disk([0x10040, "_BHRfS_M"])), found("btrfs"));
});

s.test("a mark one byte off, cut off, or of ext without a sensible block size is none", () => {
  assert.equal(readDiskHead(disk([1, "hsqs"])), NOTHING);
  assert.equal(readDiskHead(disk([0x10040, "_BHRfS_M"]).subarray(0, HEAD_BYTES - 1)), NOTHING);
  assert.equal(readDiskHead(disk([1024 + 56, "\x53\xef"], [1024, "\x01"], [1024 + 4, "\x01"], [1024 + 24, "\x07"])), NOTHING);
  assert.equal(readDiskHead(new Uint8Array()), NOTHING);
});

s.test("names all file systems whose marks a disk bears", () => {
  const { fileSystems } = readDiskHead(disk([0, "XFSB"], [0x10040, "_BHRfS_M"]));
  assert.equal(
    fileSystems.map(({ fstype }) => fstype),
    ["xfs", "btrfs"],
  );
});

s.test("knows a partition table, old and new, and does not take a boot sector without partitions for one", () => {
  assert.ok(readDiskHead(disk([512, "EFI PART"])).partitioned);
  assert.ok(readDiskHead(disk([510, "\x55\xaa"], [450, "\x83"])).partitioned);
  assert.not(readDiskHead(disk([510, "\x55\xaa"])).partitioned);
});

s.test("knows a qcow2 image, and the other files that one names", () => {
  const version = (number: number) => [4, `\0\0\0${String.fromCharCode(number)}`] as const;
  const of = (...marks: readonly (readonly [number, string])[]) => readDiskHead(disk([0, "QFI\xfb"], ...marks)).qcow2;
  assert.equal(of(version(3)), {});
  assert.equal(of(version(2), [15, "\x80"]), { dependsOn: "a backing file" });
  assert.equal(of(version(3), [8, "\x01"]), { dependsOn: "a backing file" });
  assert.equal(of(version(3), [79, "\x04"]), { dependsOn: "an external data file" });
  assert.equal(of(version(3), [79, "\x01"]), {}, "a dirty image stands alone");
  assert.equal(of(version(2), [79, "\x04"]), {}, "version 2 has no features there");
  assert.is(readDiskHead(disk([0, "QFI "])).qcow2, undefined);
});

s.test("whatever the bytes are, the answer is plain data with names that mount takes, and nothing is thrown", () => {
  const marks = fc.constantFrom("QFI\xfb", "hsqs", "XFSB", "_BHRfS_M", "EFI PART", "\x53\xef", "\xe2\xe1\xf5\xe0", "\x55\xaa");
  const places = fc.constantFrom(0, 510, 512, 1024, 1080, 0x10040);
  const hostile = fc
    .tuple(fc.array(fc.tuple(places, marks)), fc.uint8Array({ maxLength: 2048 }), fc.nat(HEAD_BYTES + 100))
    .map(([written, noise, length]) => {
      const bytes = disk();
      bytes.set(noise);
      for (const [offset, mark] of written) bytes.write(mark, offset, "latin1");
      return Buffer.concat([bytes, Buffer.alloc(200)]).subarray(0, length);
    });
  fc.assert(
    fc.property(hostile, (bytes) => {
      const head = readDiskHead(bytes);
      assert.equal(JSON.parse(JSON.stringify(head)), head);
      for (const { fstype } of head.fileSystems) assert.match(fstype, /^[a-z0-9]+$/);
    }),
  );
});

s.run();
