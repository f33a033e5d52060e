import type { Call, Json } from "./holding.ts";

/**
 * Keeps one record for each sandbox. A write is all or nothing and on disk when it resolves: a reader sees the old record or the new one.
 * The record is opaque to the store.
 */
export interface StateStore {
  /** @throws ALREADY_EXISTS when there is a record of this id, also under a race of two processes. */
  create(id: string, record: Json): Promise<void>;
  /** Replaces the record. @throws NOT_FOUND when there is none. */
  write(id: string, record: Json): Promise<void>;
  /** `undefined` when there is none. @throws STATE_CORRUPT naming the file when it cannot be read. */
  read(id: string): Promise<Json | undefined>;
  /** The ids of all records, readable or not, sorted. */
  list(): Promise<readonly string[]>;
  /** Removes the record; none is success. */
  remove(id: string): Promise<void>;
  /**
   * Takes the lock of a sandbox across processes, waiting until `call.signal` fires; a holder that died loses it.
   * @throws LOCKED when the signal fires first.
   */
  lock(id: string, call: Call): Promise<StateLock>;
  close(): Promise<void>;
}

export interface StateLock {
  release(): Promise<void>;
}
