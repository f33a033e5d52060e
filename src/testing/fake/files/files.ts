import type {
  FileAttributes,
  FileEntry,
  FileList,
  FilePiece,
  FilePlace,
  FileRange,
  FileStat,
  FileWrite,
} from "../../../contracts/agent-files.ts";
import { FILE_PIECE_BYTES } from "../../../contracts/agent-files.ts";
import type { OciSpec } from "../../../contracts/oci.ts";
import { identityOf, isBelow, regular, setAttributes, statOf } from "./nodes.ts";
import {
  copyDirectory,
  type FakeDirectory,
  type FakeFound,
  type FakeNode,
  type FakeWalk,
  fileError,
  newDirectory,
  newFile,
  newLink,
  walkTree,
} from "./tree.ts";
import { FakeWatch } from "./watch.ts";

type Place = Omit<FilePlace, "container">;

/** A file that comes in pieces. */
interface Staged {
  readonly found: FakeFound;
  readonly pieces: Uint8Array[];
  length: number;
}

/** The files of one container in the fake world: in memory, with what the guest's kernel and agent refuse. */
export class FakeFiles {
  readonly #root: FakeDirectory;
  readonly #spec: OciSpec;
  /** Mounts are there while its process runs. */
  readonly #runs: () => boolean;
  readonly #staged = new Map<string, Staged>();
  readonly #watches = new Map<string, { readonly directory: FakeDirectory; readonly watch: FakeWatch }>();
  #tokens = 0;

  /** With `saved`, those of a container that was saved. */
  constructor(spec: OciSpec, runs: () => boolean, saved?: FakeDirectory) {
    this.#spec = spec;
    this.#runs = runs;
    this.#root = saved ? copyDirectory(saved) : newDirectory();
    if (saved) return;
    for (const program of ["cat", "sh", "sleep", "true"]) this.#seed(`/bin/${program}`, newFile(Buffer.from("fake\n"), 0o755));
    this.#seed("/etc/passwd", newFile(Buffer.from("root:x:0:0:root:/:/bin/sh\n")));
    this.#seed("/tmp", newDirectory(0o1777));
    for (const { destination } of spec.mounts) this.#seed(destination, newDirectory());
  }

  /** A copy of all of them. What was being written in pieces, and the watches, are not in it. */
  save(): FakeDirectory {
    return copyDirectory(this.#root);
  }

  stat(place: Place, { follow }: { readonly follow: boolean }): FileStat {
    const node = this.#existing(place, { follow });
    return { ...statOf(node), ...(node.type === "link" && { target: node.target }) };
  }

  list(place: Place, { after, limit }: { readonly after: string; readonly limit: number }): FileList {
    const node = this.#existing(place, { follow: true });
    if (node.type !== "directory") throw fileError("ENOTDIR", place.path);
    const names = [...node.entries.keys()].filter((name) => name > after).sort();
    const entries = names
      .slice(0, Math.min(limit, 1000))
      .map((name): FileEntry => ({ name, ...statOf(node.entries.get(name) as FakeNode) }));
    return { entries, more: entries.length < names.length };
  }

  read(place: Place, { offset, length, identity }: FileRange): FilePiece {
    const file = regular(this.#existing(place, { follow: true }), place.path);
    const current = identityOf(file);
    if (identity !== undefined && identity !== current) throw fileError("ESTALE", place.path);
    return { data: Buffer.from(file.data.subarray(offset, offset + Math.min(length, FILE_PIECE_BYTES))), identity: current };
  }

  write(place: Place, { mode, staged, offset, data, last, attributes = {} }: FileWrite): string {
    if (mode !== "replace") return this.#writeInPlace(place, mode, offset, data, last ? attributes : {});
    const file = staged === undefined ? this.#stage(place) : this.#staged.get(staged);
    if (!file) throw fileError("EBADF", place.path);
    if (offset !== file.length) throw fileError("EINVAL", place.path);
    file.pieces.push(Uint8Array.from(data));
    file.length += data.length;
    if (last) {
      this.#staged.delete(staged ?? "");
      this.#finish(file, attributes);
      return "";
    }
    const token = staged ?? `${++this.#tokens}`;
    this.#staged.set(token, file);
    return token;
  }

  discard(staged: string): void {
    this.#staged.delete(staged);
  }

  makeDirectory(place: Place, { recursive, attributes = {} }: { readonly recursive: boolean; readonly attributes?: FileAttributes }): void {
    const found = this.#changing(place, { follow: recursive, makeDirectories: recursive });
    if (found.node) {
      if (recursive && found.node.type === "directory") return;
      throw fileError("EEXIST", place.path);
    }
    const directory = newDirectory();
    setAttributes(directory, attributes);
    this.#put(found, directory);
  }

  makeLink(place: Place, { target, hard }: { readonly target: string; readonly hard: boolean }): void {
    const found = this.#named(this.#changing(place, { follow: false }), place.path);
    if (found.node) throw fileError("EEXIST", place.path);
    if (!hard) {
      if (target === "" || target.includes("\0")) throw fileError(target === "" ? "ENOENT" : "EINVAL", place.path);
      this.#put(found, newLink(target));
      return;
    }
    const old = this.#existing({ ...place, path: target }, { follow: false });
    if (old.type === "directory") throw fileError("EPERM", place.path);
    old.links += 1;
    this.#put(found, old);
  }

  setAttributes(place: Place, attributes: FileAttributes): void {
    const { node, parent, name } = this.#changing(place, { follow: false });
    if (!node) throw fileError("ENOENT", place.path);
    setAttributes(node, attributes);
    this.#tell(parent, "change", name);
  }

  remove(place: Place, { recursive }: { readonly recursive: boolean }): void {
    const { parent, name, node, at } = this.#named(this.#changing(place, { follow: false }), place.path);
    if (!node) throw fileError("ENOENT", place.path);
    if (node.type === "directory") {
      if (this.#runs() && this.#spec.mounts.some(({ destination }) => isBelow(destination, at))) throw fileError("EBUSY", place.path);
      if (node.entries.size > 0 && !recursive) throw fileError("ENOTEMPTY", place.path);
    }
    this.#take(parent, name);
  }

  rename(place: Place, to: string): void {
    const from = this.#named(this.#changing(place, { follow: false }), place.path);
    if (!from.node) throw fileError("ENOENT", place.path);
    const target = this.#named(this.#changing({ ...place, path: to }, { follow: false }), to);
    if (target.node === from.node) return;
    if (isBelow(target.at, from.at)) throw fileError("EINVAL", place.path);
    if (target.node?.type === "directory") {
      if (from.node.type !== "directory") throw fileError("EISDIR", place.path);
      if (target.node.entries.size > 0) throw fileError("ENOTEMPTY", place.path);
    } else if (target.node && from.node.type === "directory") throw fileError("ENOTDIR", place.path);
    if (target.node) target.node.links -= 1;
    from.parent.entries.delete(from.name);
    this.#tell(from.parent, "rename", from.name);
    this.#put(target, from.node);
  }

  watch(place: Place): string {
    const directory = this.#existing(place, { follow: true });
    if (directory.type !== "directory") throw fileError("ENOTDIR", place.path);
    const token = `${++this.#tokens}`;
    this.#watches.set(token, { directory, watch: new FakeWatch() });
    return token;
  }

  watchOf(token: string): FakeWatch {
    const found = this.#watches.get(token);
    if (found) return found.watch;
    throw fileError("EBADF", token);
  }

  unwatch(token: string): void {
    this.#watches.get(token)?.watch.end();
    this.#watches.delete(token);
  }

  /** The container has ended. */
  endWatches(): void {
    for (const { watch } of this.#watches.values()) watch.end();
  }

  #seed(path: string, node: FakeNode): void {
    const found = walkTree(this.#root, [], path, { follow: true, makeDirectories: true });
    if (!found.node && found.name !== "") found.parent.entries.set(found.name, node);
  }

  #walk({ path, base }: Place, options: FakeWalk): FakeFound {
    if (base === undefined) return this.#covered(walkTree(this.#root, [], path, options), path);
    const { node, at } = walkTree(this.#root, [], base, { follow: true });
    if (node?.type !== "directory") throw fileError(node ? "ENOTDIR" : "ENOENT", base);
    return this.#covered(walkTree(node, at.split("/").filter(Boolean), path, options), path);
  }

  #covered(found: FakeFound, path: string): FakeFound {
    if (!this.#runs() && this.#spec.mounts.some(({ destination }) => isBelow(found.at, destination))) throw fileError("ENXIO", path);
    return found;
  }

  #existing(place: Place, options: FakeWalk): FakeNode {
    const { node } = this.#walk(place, options);
    if (node) return node;
    throw fileError("ENOENT", place.path);
  }

  #changing(place: Place, options: FakeWalk): FakeFound {
    const found = this.#walk(place, options);
    const [mount] = this.#spec.mounts
      .filter(({ destination }) => isBelow(found.at, destination))
      .sort((one, other) => other.destination.length - one.destination.length);
    if (mount ? mount.options.includes("ro") : this.#spec.root.readonly) throw fileError("EROFS", place.path);
    return found;
  }

  #named(found: FakeFound, path: string): FakeFound {
    if (found.name === "") throw fileError("EBUSY", path);
    return found;
  }

  #stage(place: Place): Staged {
    const found = this.#changing(place, { follow: true });
    if (found.node) regular(found.node, place.path);
    return { found, pieces: [], length: 0 };
  }

  #finish({ found, pieces }: Staged, attributes: FileAttributes): void {
    const file = newFile(Buffer.concat(pieces));
    const replaced = found.parent.entries.get(found.name);
    if (replaced?.type === "directory") throw fileError("EISDIR", found.at);
    if (replaced?.type === "file") Object.assign(file, { mode: replaced.mode & 0o777, uid: replaced.uid, gid: replaced.gid });
    if (replaced) replaced.links -= 1;
    setAttributes(file, attributes);
    this.#put(found, file);
  }

  #writeInPlace(place: Place, mode: "in-place" | "append", offset: number, data: Uint8Array, attributes: FileAttributes): string {
    const found = this.#changing(place, { follow: true });
    const file = found.node ? regular(found.node, place.path) : newFile(Buffer.alloc(0));
    const before = mode === "in-place" && offset === 0 ? Buffer.alloc(0) : file.data;
    const at = mode === "append" ? before.length : offset;
    const gap = Buffer.alloc(Math.max(0, at - before.length));
    file.data = Buffer.concat([before.subarray(0, at), gap, data, before.subarray(at + data.length)]);
    setAttributes(file, { modifiedMs: Date.now(), ...attributes });
    if (found.node) this.#tell(found.parent, "change", found.name);
    else this.#put(found, file);
    return "";
  }

  #put({ parent, name }: FakeFound, node: FakeNode): void {
    parent.entries.set(name, node);
    this.#tell(parent, "rename", name);
  }

  #take(parent: FakeDirectory, name: string): void {
    const node = parent.entries.get(name);
    if (node) node.links -= 1;
    if (node?.type === "directory") for (const inner of [...node.entries.keys()]) this.#take(node, inner);
    parent.entries.delete(name);
    this.#tell(parent, "rename", name);
    for (const { directory, watch } of this.#watches.values()) if (directory === node) watch.end();
  }

  #tell(parent: FakeDirectory, type: "change" | "rename", name: string): void {
    for (const { directory, watch } of this.#watches.values()) if (directory === parent) watch.add({ type, name });
  }
}
