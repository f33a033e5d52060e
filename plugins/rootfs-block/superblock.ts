/** What the start of a disk says it is. */
export interface DiskHead {
  /** Present when it is a qcow2 image; what lies in it cannot be seen from the outside. */
  readonly qcow2?: Qcow2Head;
  /** The file systems whose marks it bears. Two and more are remains of an earlier one: nobody can tell which is meant. */
  readonly fileSystems: readonly FoundFileSystem[];
  /** It has a partition table: file systems lie further in, if anywhere. */
  readonly partitioned: boolean;
}

export interface Qcow2Head {
  /** The other file of the host that it names and that would be read with it; absent when it stands alone. */
  readonly dependsOn?: "a backing file" | "an external data file";
}

export interface FoundFileSystem {
  /** As `mount -t` takes it. */
  readonly fstype: string;
  /** It has a journal to be replayed, which takes a write: a read-only disk cannot be mounted so. */
  readonly unclean: boolean;
}

/** How much of a disk has to be read: btrfs has its mark farthest in. */
export const HEAD_BYTES = 0x10048;

const MARKS = [
  { fstype: "squashfs", offset: 0, mark: "hsqs" },
  { fstype: "xfs", offset: 0, mark: "XFSB" },
  { fstype: "erofs", offset: 1024, mark: "\xe2\xe1\xf5\xe0" },
  { fstype: "btrfs", offset: 0x10040, mark: "_BHRfS_M" },
] as const;

/** Tells what a disk is from its first bytes, which may be fewer than `HEAD_BYTES`. Never throws, whatever they are. */
export function readDiskHead(bytes: Uint8Array): DiskHead {
  const head = Buffer.alloc(HEAD_BYTES);
  head.set(bytes.subarray(0, HEAD_BYTES));
  const qcow2 = readQcow2(head);
  const ext = readExt(head);
  const others = MARKS.filter(({ offset, mark }) => hasMark(head, offset, mark)).map(({ fstype }) => ({ fstype, unclean: false }));
  return { ...(qcow2 && { qcow2 }), fileSystems: ext ? [ext, ...others] : others, partitioned: isPartitioned(head) };
}

function hasMark(head: Buffer, offset: number, mark: string): boolean {
  return head.toString("latin1", offset, offset + mark.length) === mark;
}

/** docs/interop/qcow2.txt of QEMU: numbers are big-endian, incompatible features are there from version 3 on. */
function readQcow2(head: Buffer): Qcow2Head | undefined {
  if (!hasMark(head, 0, "QFI\xfb")) return undefined;
  const external = head.readUInt32BE(4) >= 3 && (head.readUInt32BE(76) & 0b100) !== 0;
  if (external) return { dependsOn: "an external data file" };
  return head.readBigUInt64BE(8) === 0n ? {} : { dependsOn: "a backing file" };
}

const EXT_SUPERBLOCK = 1024;
/** Feature bits, from the kernel's fs/ext4/ext4.h. What ext3 does not know makes a file system ext4. */
const HAS_JOURNAL = 0x4;
const NEEDS_RECOVERY = 0x4;
const EXT3_INCOMPATIBLE = 0x2 | NEEDS_RECOVERY | 0x10;
const EXT3_READONLY_COMPATIBLE = 0x1 | 0x2 | 0x4;
const LARGEST_LOG_BLOCK_SIZE = 6;

function readExt(head: Buffer): FoundFileSystem | undefined {
  const word = (offset: number) => head.readUInt32LE(EXT_SUPERBLOCK + offset);
  if (head.readUInt16LE(EXT_SUPERBLOCK + 56) !== 0xef53) return undefined;
  // Two bytes are a weak mark: the block size and the counts of inodes and blocks have to make sense too. A journal alone has no inodes.
  if (word(24) > LARGEST_LOG_BLOCK_SIZE || word(0) === 0 || word(4) === 0) return undefined;
  const [compatible, incompatible, readonlyCompatible] = [word(92), word(96), word(100)];
  const beyondExt3 = (incompatible & ~EXT3_INCOMPATIBLE) !== 0 || (readonlyCompatible & ~EXT3_READONLY_COMPATIBLE) !== 0;
  const journal = (compatible & HAS_JOURNAL) !== 0;
  return { fstype: beyondExt3 ? "ext4" : journal ? "ext3" : "ext2", unclean: (incompatible & NEEDS_RECOVERY) !== 0 };
}

/** A GPT, or a master boot record with a first partition. */
function isPartitioned(head: Buffer): boolean {
  return hasMark(head, 512, "EFI PART") || (hasMark(head, 510, "\x55\xaa") && head[446 + 4] !== 0);
}
