import { type BigIntStats, constants } from "node:fs";
import { open, readFile, realpath, stat } from "node:fs/promises";
import { resolve } from "node:path";
import type { RootfsGrant, RootfsIntent, RootfsSource } from "tapvisor/plugin";
import { type Reason, systemReason, unsupported, unusable } from "./errors.ts";
import { type DiskHead, HEAD_BYTES, readDiskHead } from "./superblock.ts";

type BlockSource = Extract<RootfsSource, { kind: "block" }>;
type BlockGrant = Extract<RootfsGrant, { type: "block" }>;

const WANTED = "an image file (raw or qcow2) or a block device, with a file system and no partitions";
const FSTYPE = /^[a-z][a-z0-9_.-]{0,30}$/;
const READ_ONLY_KINDS = ["erofs", "squashfs"];

/**
 * Looks at an image or device: links are followed now, so that one changed later cannot redirect the container.
 *
 * @throws INVALID_INPUT when it is none that can be used; UNSUPPORTED for access `shared` to a file system that is only ever read.
 */
export async function lookAtBlock(source: BlockSource, access: RootfsIntent["access"]): Promise<BlockGrant> {
  const refuse = (reason: Reason) => unusable("rootfs.block", source.path, WANTED, reason);
  const absolute = resolve(source.path);
  let path: string;
  let stats: BigIntStats;
  try {
    path = await realpath(absolute);
    stats = await stat(path, { bigint: true });
  } catch (error) {
    throw refuse(systemReason(absolute, error));
  }
  if (!stats.isFile() && !stats.isBlockDevice()) throw refuse({ found: `${path} is ${kindOf(stats)}` });
  const bytes = await readHead(path, stats, access).catch((error: unknown) => {
    const reason = systemReason(path, error);
    throw refuse(access === "shared" ? { ...reason, found: `${reason.found} (access "shared" writes to it)` } : reason);
  });
  if (access === "shared" && (await isWriteProtected(stats)))
    throw refuse({ found: `${path} is write-protected (access "shared" writes to it)` });
  if (bytes.length === 0) throw refuse({ found: `${path} is empty` });
  const head = readDiskHead(bytes);
  const format = formatOf(head, source, refuse);
  const fstype = fstypeOf(head, format, source, access, refuse);
  if (access === "shared" && READ_ONLY_KINDS.includes(fstype)) {
    throw unsupported("shared rootfs", `${fstype} is never written to`, 'use the access "readonly" or "copy-on-write"');
  }
  return { type: "block", path, format, fstype, extra: { file: `${stats.dev}:${stats.ino}` } };
}

/** Opening is the test, as access(2) answers for the real user only. A device that the host itself has mounted refuses O_EXCL. */
async function readHead(path: string, stats: BigIntStats, access: RootfsIntent["access"]): Promise<Uint8Array> {
  const writing = stats.isBlockDevice() ? constants.O_RDWR | constants.O_EXCL : constants.O_RDWR;
  const file = await open(path, (access === "shared" ? writing : constants.O_RDONLY) | constants.O_NONBLOCK);
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(HEAD_BYTES), 0, HEAD_BYTES, 0);
    return buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}

/** A device opens for writing all the same; its number is split as the kernel's new_decode_dev does it. */
async function isWriteProtected({ rdev }: BigIntStats): Promise<boolean> {
  const number = `${(rdev & 0xfff00n) >> 8n}:${(rdev & 0xffn) | ((rdev >> 12n) & 0xfff00n)}`;
  return (await readFile(`/sys/dev/block/${number}/ro`, "utf8").catch(() => "")).trim() === "1";
}

function formatOf({ qcow2 }: DiskHead, source: BlockSource, refuse: (reason: Reason) => Error): "raw" | "qcow2" {
  const format = source.format ?? (qcow2 ? "qcow2" : "raw");
  if (format === "raw") return format;
  if (!qcow2) throw refuse({ found: 'it is no qcow2 image though the format "qcow2" is given' });
  // QEMU would open whatever file of the host the image names, and the guest could read it.
  if (qcow2.dependsOn) {
    throw refuse({ found: `it is a qcow2 image with ${qcow2.dependsOn}`, hint: "make it stand alone: qemu-img convert -O qcow2 OLD NEW" });
  }
  return format;
}

function fstypeOf(
  { fileSystems, partitioned }: DiskHead,
  format: "raw" | "qcow2",
  source: BlockSource,
  access: RootfsIntent["access"],
  refuse: (reason: Reason) => Error,
): string {
  const seen = format === "raw" ? fileSystems : [];
  const given = source.fstype;
  if (given !== undefined && !FSTYPE.test(given)) {
    throw unusable("rootfs.fstype", given, 'the name of a file system such as "ext4"', { found: "it is no such name" });
  }
  const fstype = given ?? (seen.length === 1 ? seen[0]?.fstype : undefined);
  if (fstype === undefined) throw refuse(whyUnknown(format, seen.length, partitioned));
  if (access !== "shared" && fstype.startsWith("ext") && seen.some(({ unclean }) => unclean)) {
    const hint = `repair it first: e2fsck -p ${source.path}`;
    throw refuse({ found: `its ${fstype} file system is in use or was not unmounted cleanly, and is only read here`, hint });
  }
  return fstype;
}

function whyUnknown(format: "raw" | "qcow2", seen: number, partitioned: boolean): Reason {
  const hint = 'name the file system: { block, fstype: "ext4" } say';
  if (format === "qcow2") return { found: "the file system in a qcow2 image cannot be seen from the outside, so fstype is needed", hint };
  if (seen > 1) return { found: "it bears the marks of several file systems, so fstype is needed", hint };
  if (partitioned) return { found: "it has a partition table", hint: "give a device or an image of the partition alone" };
  return { found: "no known file system is on it", hint };
}

function kindOf(stats: BigIntStats): string {
  if (stats.isDirectory()) return "a directory";
  if (stats.isFIFO()) return "a FIFO";
  if (stats.isSocket()) return "a socket";
  return "a character device";
}
