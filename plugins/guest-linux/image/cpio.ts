import { contentOf, modeOf, type Tree, type TreeNode } from "./tree.ts";

const TYPE_BITS = { directory: 0o040000, file: 0o100000, symlink: 0o120000 } as const;
const TRAILER = "TRAILER!!!";

/**
 * The tree as a cpio archive of the kernel's own format ("newc", magic 070701). Owner, group and times are zero and inodes count up,
 * so the same tree gives the same bytes.
 */
export async function cpio(tree: Tree): Promise<Buffer> {
  const parts: Buffer[] = [];
  let inode = 1;
  for (const [path, node] of tree) {
    const body = node.type === "symlink" ? Buffer.from(node.target) : await contentOf(node);
    parts.push(...member(path, inode++, TYPE_BITS[node.type] | modeOf(node), links(node), body));
  }
  parts.push(...member(TRAILER, 0, 0, 1, Buffer.alloc(0)));
  return Buffer.concat(parts);
}

function links(node: TreeNode): number {
  return node.type === "directory" ? 2 : 1;
}

function member(path: string, inode: number, mode: number, linkCount: number, body: Buffer): Buffer[] {
  const name = Buffer.from(`${path}\0`);
  // ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check: see initramfs buffer-format.
  const fields = [inode, mode, 0, 0, linkCount, 0, body.length, 0, 0, 0, 0, name.length, 0];
  const header = Buffer.from(`070701${fields.map((field) => field.toString(16).padStart(8, "0")).join("")}`);
  return [header, name, padding(header.length + name.length), body, padding(body.length)];
}

/** Zeros up to the next multiple of 4, where the next part of an archive starts. */
function padding(length: number): Buffer {
  return Buffer.alloc((4 - (length % 4)) % 4);
}
