import type { FileAttributes, FileStat } from "../../../contracts/agent-files.ts";
import { type FakeFile, type FakeNode, fileError } from "./tree.ts";

/** @throws FILE_FAILED EISDIR, EINVAL. */
export function regular(node: FakeNode, path: string): FakeFile {
  if (node.type === "file") return node;
  throw fileError(node.type === "directory" ? "EISDIR" : "EINVAL", path);
}

export function statOf(node: FakeNode): FileStat {
  const { type, mode, uid, gid, modifiedMs, links } = node;
  const size = node.type === "file" ? node.data.length : node.type === "link" ? Buffer.byteLength(node.target) : 0;
  return { type, size, mode, uid, gid, modifiedMs, identity: identityOf(node), links };
}

export function identityOf({ inode }: FakeNode): string {
  return `1:${inode}`;
}

export function setAttributes(node: FakeNode, { mode, uid, gid, modifiedMs }: FileAttributes): void {
  if (mode !== undefined && node.type !== "link") node.mode = mode;
  if (uid !== undefined) node.uid = uid;
  if (gid !== undefined) node.gid = gid;
  if (modifiedMs !== undefined) node.modifiedMs = Math.trunc(modifiedMs);
}

/** Whether a path is another, or in it. */
export function isBelow(path: string, directory: string): boolean {
  return path === directory || directory === "/" || path.startsWith(`${directory}/`);
}
