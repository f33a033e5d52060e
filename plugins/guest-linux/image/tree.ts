import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { chmod, copyFile, mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";

/** One node of a file tree that is still to be written. Files come from the host (`source`) or from a text. */
export type TreeNode =
  | { readonly type: "directory" }
  | { readonly type: "file"; readonly executable: boolean; readonly source: string }
  | { readonly type: "file"; readonly executable: boolean; readonly text: string }
  | { readonly type: "symlink"; readonly target: string };

/** Nodes by path without a leading slash, sorted, each parent before its children. Owner, group and times are all zero. */
export type Tree = ReadonlyMap<string, TreeNode>;

export const directory: TreeNode = { type: "directory" };

export function hostFile(source: string, { executable = false } = {}): TreeNode {
  return { type: "file", executable, source };
}

export function textFile(text: string, { executable = false } = {}): TreeNode {
  return { type: "file", executable, text };
}

export function symlinkTo(target: string): TreeNode {
  return { type: "symlink", target };
}

/** A sorted tree of these nodes and the directories they need. A later node replaces an earlier one of the same path. */
export function treeOf(nodes: Iterable<readonly [path: string, node: TreeNode]>): Tree {
  const all = new Map<string, TreeNode>();
  for (const [path, node] of nodes) {
    for (let parent = dirname(path); parent !== "."; parent = dirname(parent)) if (!all.has(parent)) all.set(parent, directory);
    all.set(path, node);
  }
  // By code units: "a" sorts before "a/b", and no locale has a say.
  return new Map([...all].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** Permission bits of a node, the same whatever the host's file had. */
export function modeOf(node: TreeNode): number {
  if (node.type === "symlink") return 0o777;
  return node.type === "directory" || node.executable ? 0o755 : 0o644;
}

/** The host files a tree is made from. */
export function sourcesOf(tree: Tree): string[] {
  return [...tree.values()].flatMap((node) => ("source" in node ? [node.source] : []));
}

/** The bytes of a file node. */
export async function contentOf(node: TreeNode): Promise<Buffer> {
  if ("source" in node) return readFile(node.source);
  return Buffer.from("text" in node ? node.text : "");
}

/**
 * Writes the tree into a directory that exists and is empty, and returns the digest (sha256, hex) of what was written.
 * The digest is taken from the copy, so a source that changes meanwhile cannot make it untrue.
 */
export async function writeTree(tree: Tree, into: string): Promise<string> {
  const digest = createHash("sha256");
  await chmod(into, modeOf(directory));
  for (const [path, node] of tree) {
    const target = join(into, path);
    if (node.type === "directory") await mkdir(target);
    else if (node.type === "symlink") await symlink(node.target, target);
    else if ("source" in node) await copyFile(node.source, target);
    else await writeFile(target, node.text);
    if (node.type !== "symlink") await chmod(target, modeOf(node)); // mkdir and writeFile obey the umask
    digest.update(`${JSON.stringify([path, node.type, modeOf(node), "target" in node ? node.target : ""])}\n`);
    if (node.type === "file") digest.update(await fileDigest(target));
  }
  return digest.digest("hex");
}

async function fileDigest(path: string): Promise<Buffer> {
  const digest = createHash("sha256");
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) digest.update(chunk as Buffer);
  return digest.digest();
}
