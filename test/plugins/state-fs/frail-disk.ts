import { dirname } from "node:path";
import type { Files } from "../../../plugins/state-fs/files.ts";

interface Inode {
  bytes: Uint8Array;
  synced: boolean;
}

type Names = Map<string, Inode>;

/** What a disk may hold after the power came back. */
export type Remains = ReadonlyMap<string, Uint8Array>;

/**
 * A disk in memory that can lose its power, or refuse, before any of its steps. As on a real one, bytes not synced may be there in part,
 * and names not synced may be there or not, each on its own.
 */
export class FrailDisk implements Files {
  /** Steps done so far. */
  steps = 0;
  /** The step before which the power goes: that one and all later fail. */
  cutAt = Number.POSITIVE_INFINITY;
  /** The step that is refused, once. */
  refuseAt = Number.POSITIVE_INFINITY;
  readonly #durable: Names = new Map();
  #pending: ((names: Names) => void)[] = [];

  constructor(remains: Remains = new Map()) {
    for (const [path, bytes] of remains) this.#durable.set(path, { bytes, synced: true });
  }

  async makeDirectory(): Promise<void> {}

  async writeNew(path: string, bytes: Uint8Array): Promise<void> {
    this.#step();
    if (this.#names().has(path)) throw failure("EEXIST");
    const inode: Inode = { bytes, synced: false };
    this.#pending.push((names) => names.set(path, inode));
    this.#step();
    inode.synced = true;
  }

  async link(from: string, to: string): Promise<void> {
    this.#step();
    const inode = this.#inode(from);
    if (this.#names().has(to)) throw failure("EEXIST");
    this.#pending.push((names) => names.set(to, inode));
  }

  async rename(from: string, to: string): Promise<void> {
    this.#step();
    const inode = this.#inode(from);
    this.#pending.push((names) => {
      names.delete(from);
      names.set(to, inode);
    });
  }

  async unlink(path: string): Promise<void> {
    this.#step();
    this.#inode(path);
    this.#pending.push((names) => names.delete(path));
  }

  async syncDirectory(): Promise<void> {
    this.#step();
    for (const change of this.#pending) change(this.#durable);
    this.#pending = [];
  }

  async read(path: string): Promise<Uint8Array> {
    return this.#inode(path).bytes;
  }

  async list(path: string): Promise<readonly string[]> {
    return [...this.#names().keys()].flatMap((name) => (dirname(name) === path ? [name.slice(path.length + 1)] : []));
  }

  /** Everything that may be on the disk when the power comes back. */
  *remains(): Generator<Remains> {
    for (let subset = 0; subset < 2 ** this.#pending.length; subset++) {
      const names = new Map(this.#durable);
      for (const [n, change] of this.#pending.entries()) if (subset & (1 << n)) change(names);
      for (const part of [0, 0.5, 1]) {
        yield new Map([...names].map(([path, { bytes, synced }]) => [path, synced ? bytes : bytes.subarray(0, bytes.length * part)]));
      }
    }
  }

  #step(): void {
    const step = this.steps++;
    if (step >= this.cutAt) throw failure("EIO");
    if (step === this.refuseAt) throw failure("ENOSPC");
  }

  #names(): Names {
    const names = new Map(this.#durable);
    for (const change of this.#pending) change(names);
    return names;
  }

  #inode(path: string): Inode {
    const inode = this.#names().get(path);
    if (!inode) throw failure("ENOENT");
    return inode;
  }
}

function failure(code: string): Error {
  return Object.assign(new Error(code), { code });
}
