import type { BigIntStats } from "node:fs";
import { open, readdir, stat } from "node:fs/promises";
import { type DiskIntent, deviceNumbers, messageOf, type TapvisorError } from "tapvisor/plugin";
import { badDevice } from "./bad-device.ts";

/** A disk's path that has been looked at. */
export interface DiskSource {
  readonly kind: "file" | "host_device";
  /** Which file or device it is, so that one exchanged before QEMU opens it is noticed. */
  readonly identity: string;
}

const QCOW2_MAGIC = "QFI\xfb";
/** Where a qcow2 header says that data of the disk is in other files, which the guest would then read. */
const BACKING_FILE_OFFSET = 8;
const FEATURES_OFFSET = 72;
const EXTERNAL_DATA_FILE = 4n;
const HEADER_BYTES = 512;

/** Drives that may be empty, by their major numbers: a request to such a one may hang until somebody inserts a medium. */
const REMOVABLE: Readonly<Record<number, string>> = { 2: "a floppy drive", 11: "a CD-ROM drive" };

/**
 * Looks at a disk's path before anything is done: what it is, whether it can be opened as the intent wants it, and whether its content has
 * the format it is said to have. A raw disk that begins as a qcow2 image does is refused: one is taken for the other.
 *
 * @throws INVALID_INPUT naming `disk.path` or `disk.format`, what was found and what is wanted.
 */
export async function checkDiskSource({ path, format, readonly }: DiskIntent): Promise<DiskSource> {
  const wanted = `an image file or a block device that can be ${readonly ? "read" : "read and written"}`;
  const failed = (cause: unknown): never => {
    throw badDevice("disk.path", path, wanted, messageOf(cause), cause);
  };
  const source = sourceOf(await stat(path, { bigint: true }).catch(failed));
  if ("refusal" in source) throw badDevice("disk.path", path, wanted, `it is ${source.refusal}`);
  await using file = await open(path, readonly ? "r" : "r+").catch(failed);
  const opened = sourceOf(await file.stat({ bigint: true }));
  if ("refusal" in opened || opened.identity !== source.identity) throw exchanged(path);
  const header = Buffer.alloc(HEADER_BYTES);
  const { bytesRead } = await file.read(header, 0, HEADER_BYTES, 0).catch(failed);
  if (bytesRead === 0) throw badDevice("disk.path", path, wanted, "it is empty");
  checkFormat(path, format, header);
  return source;
}

/** @throws INVALID_INPUT when QEMU, with this pid, has not opened the file or device that was looked at. */
export async function checkOpened(pid: number, path: string, { identity }: DiskSource): Promise<void> {
  const directory = `/proc/${pid}/fd`;
  const names = await readdir(directory).catch(() => undefined);
  if (!names) return; // QEMU has ended, which the next command tells
  for (const name of names) {
    const found = await stat(`${directory}/${name}`, { bigint: true }).catch(() => undefined); // closed since
    const opened = found && sourceOf(found);
    if (opened && "identity" in opened && opened.identity === identity) return;
  }
  throw exchanged(path);
}

function sourceOf(found: BigIntStats): DiskSource | { readonly refusal: string } {
  if (found.isFile()) return { kind: "file", identity: `file ${found.dev}:${found.ino}` };
  if (found.isDirectory()) return { refusal: "a directory" };
  if (!found.isBlockDevice()) return { refusal: "neither a file nor a block device" };
  const removable = REMOVABLE[deviceNumbers(found.rdev).major];
  return removable === undefined ? { kind: "host_device", identity: `device ${found.rdev}` } : { refusal: removable };
}

function checkFormat(path: string, format: DiskIntent["format"], header: Buffer): void {
  const isQcow2 = header.toString("latin1", 0, 4) === QCOW2_MAGIC;
  if (isQcow2 !== (format === "qcow2")) {
    throw badDevice("disk.format", format, isQcow2 ? '"qcow2"' : '"raw"', `${path} ${isQcow2 ? "is" : "is not"} a qcow2 image`);
  }
  if (!isQcow2) return;
  const hasBacking = header.readBigUInt64BE(BACKING_FILE_OFFSET) !== 0n;
  if (!hasBacking && !hasExternalData(header)) return;
  throw badDevice("disk.path", path, "an image that is complete in itself", `it has ${hasBacking ? "a backing" : "an external data"} file`);
}

function hasExternalData(header: Buffer): boolean {
  return header.readUInt32BE(4) >= 3 && (header.readBigUInt64BE(FEATURES_OFFSET) & EXTERNAL_DATA_FILE) !== 0n;
}

function exchanged(path: string): TapvisorError {
  return badDevice("disk.path", path, "a disk that stays what it is", "it was exchanged while it was plugged in");
}
