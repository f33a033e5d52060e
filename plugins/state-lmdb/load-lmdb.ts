import { messageOf, TapvisorError } from "tapvisor/plugin";

/** What the store uses of the package `lmdb`, whose types a user without it does not have. */
export interface Lmdb {
  open(options: { readonly path: string } & Readonly<Record<string, unknown>>): LmdbDatabase;
}

export interface LmdbDatabase {
  get(key: string): Uint8Array | undefined;
  getKeys(): Iterable<unknown>;
  /** What is read next is the newest there is. */
  resetReadTxn(): void;
  putSync(key: string, value: Uint8Array): unknown;
  removeSync(key: string): boolean;
  /**
   * Runs `work` alone among all processes; what it wrote is on disk when it returns. lmdb's transactions that do not block are no choice:
   * those of two engines of one process wait for each other for ever.
   */
  transactionSync<T>(work: () => T): T;
  close(): Promise<void>;
}

/**
 * The optional package, loaded when an engine uses the store.
 * @throws HOST_MISSING with the command that installs it.
 */
export async function loadLmdb(importIt: () => Promise<unknown> = () => import("lmdb")): Promise<Lmdb> {
  try {
    return (await importIt()) as Lmdb;
  } catch (cause) {
    throw new TapvisorError("HOST_MISSING", 'Cannot use the state store "lmdb": the npm package lmdb cannot be loaded', {
      data: { what: "lmdb", found: messageOf(cause), wanted: "lmdb ^3.5.6 with its binary for this machine" },
      hint: "run `npm install lmdb`, or use the state store `fs`, which needs nothing",
      cause,
    });
  }
}
