import { TapvisorError } from "../../../base/errors.ts";

interface Attributes {
  readonly inode: number;
  mode: number;
  uid: number;
  gid: number;
  modifiedMs: number;
  links: number;
}

export interface FakeFile extends Attributes {
  readonly type: "file";
  data: Buffer;
}

export interface FakeDirectory extends Attributes {
  readonly type: "directory";
  readonly entries: Map<string, FakeNode>;
}

export interface FakeLink extends Attributes {
  readonly type: "link";
  readonly target: string;
}

export type FakeNode = FakeFile | FakeDirectory | FakeLink;

/** What a path has led to. */
export interface FakeFound {
  readonly parent: FakeDirectory;
  /** Empty for the root itself. */
  readonly name: string;
  /** Where it is, as an absolute path. */
  readonly at: string;
  readonly node: FakeNode | undefined;
}

export interface FakeWalk {
  readonly follow: boolean;
  readonly makeDirectories?: boolean;
}

/** As the kernel has them. */
const MAX_LINKS = 40;
const LONGEST_NAME = 255;

let inodes = 1;

function attributes(mode: number): Attributes {
  return { inode: inodes++, mode, uid: 0, gid: 0, modifiedMs: Date.now(), links: 1 };
}

export function newFile(data: Uint8Array, mode = 0o644): FakeFile {
  return { type: "file", data: Buffer.from(data), ...attributes(mode) };
}

export function newDirectory(mode = 0o755): FakeDirectory {
  return { type: "directory", entries: new Map(), ...attributes(mode) };
}

/** A copy that shares nothing with it. A file of several names is one in the copy, too. */
export function copyDirectory(directory: FakeDirectory, copies = new Map<FakeNode, FakeNode>()): FakeDirectory {
  const entries = [...directory.entries].map(([name, node]): [string, FakeNode] => [name, copyNode(node, copies)]);
  return { ...directory, entries: new Map(entries) };
}

function copyNode(node: FakeNode, copies: Map<FakeNode, FakeNode>): FakeNode {
  const copy = copies.get(node) ?? (node.type === "directory" ? copyDirectory(node, copies) : { ...node }); // a file's data is replaced, never changed
  copies.set(node, copy);
  return copy;
}

export function newLink(target: string): FakeLink {
  return { type: "link", target, ...attributes(0o777) };
}

/** Goes along a path as the guest does: an absolute link begins again at the root, and ".." of the root is the root. */
export function walkTree(
  root: FakeDirectory,
  rootAt: readonly string[],
  path: string,
  { follow, makeDirectories = false }: FakeWalk,
): FakeFound {
  if (!path.startsWith("/") || path.includes("\0") || Buffer.byteLength(path) >= 4096) throw fileError("EINVAL", path);
  const levels: { readonly directory: FakeDirectory; readonly name: string }[] = [];
  const pending = parts(path);
  for (let links = 0; ; ) {
    const here = levels.at(-1)?.directory ?? root;
    const at = (...more: readonly string[]) => `/${[...rootAt, ...levels.map(({ name }) => name), ...more].join("/")}`;
    const name = pending.shift();
    if (name === undefined) return { parent: levels.at(-2)?.directory ?? root, name: levels.at(-1)?.name ?? "", at: at(), node: here };
    if (name === "..") {
      levels.pop();
      continue;
    }
    if (Buffer.byteLength(name) > LONGEST_NAME) throw fileError("ENAMETOOLONG", path);
    const isLast = pending.length === 0;
    let node = here.entries.get(name);
    if (!node && !isLast && makeDirectories) {
      node = newDirectory();
      here.entries.set(name, node);
    }
    if (node?.type === "directory") levels.push({ directory: node, name });
    else if (node?.type === "link" && (!isLast || follow)) {
      if (++links > MAX_LINKS) throw fileError("ELOOP", path);
      if (node.target.startsWith("/")) levels.length = 0;
      pending.unshift(...parts(node.target));
    } else if (isLast) return { parent: here, name, at: at(name), node };
    else throw fileError(node ? "ENOTDIR" : "ENOENT", path);
  }
}

function parts(path: string): string[] {
  return path.split("/").filter((part) => part !== "" && part !== ".");
}

/** What the guest's system refuses with. */
export function fileError(errno: string, path: string): TapvisorError {
  const text = `Cannot use ${JSON.stringify(path)} in the fake container: ${errno}`;
  if (errno === "ENOENT") return new TapvisorError("NOT_FOUND", text, { data: { kind: "file", id: path } });
  return new TapvisorError("FILE_FAILED", text, { data: { path, errno } });
}
