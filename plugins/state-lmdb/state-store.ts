import { constants } from "node:fs";
import { mkdir, open, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import {
  acquireFileLock,
  type Call,
  checkId,
  errnoOf,
  type FileLock,
  type Json,
  Mutex,
  type StateStore,
  sweepFileLocks,
} from "tapvisor/plugin";
import { checkFile } from "./check-file.ts";
import { alreadyExists, explain, notFound } from "./errors.ts";
import type { Lmdb, LmdbDatabase } from "./load-lmdb.ts";
import { decode, encode, textOf } from "./value.ts";

export interface LmdbStoreOptions {
  /** Absolute; its directory is made with mode 0700 on first use. */
  readonly file: string;
  readonly lmdb: Lmdb;
  /** Told when locks of dead processes could not be removed; nothing else depends on it. */
  readonly onSweepFailed?: (error: unknown) => void;
}

/**
 * A state store of one LMDB file: an entry for each sandbox, each write one transaction, synced before it resolves. The locks are links
 * beside it.
 */
export function createLmdbStore({ file, lmdb, onSweepFailed = () => {} }: LmdbStoreOptions): StateStore {
  const locks = join(dirname(file), "locks");
  const held = new Set<FileLock>();
  const turns = new Mutex();
  let opened: LmdbDatabase | undefined;

  /** Runs a verb, one at a time in the order of the calls, and names what the database's errors mean. */
  function verb<T>(operation: string, id: string | undefined, work: (database: LmdbDatabase) => T): Promise<T> {
    return turns.run(async () => {
      try {
        opened ??= await openFile(lmdb, file);
        // Otherwise a read may see what was there when the last one began, and not what another process has written since.
        opened.resetReadTxn();
        return work(opened);
      } catch (error) {
        throw explain(operation, file, id, error);
      }
    });
  }

  function load(database: LmdbDatabase, id: string): { readonly generation: number; readonly record: Json } | undefined {
    const value = database.get(id);
    return value && decode(file, id, value);
  }

  return {
    async create(id, record) {
      const value = encode(checkId("id", id), 1, textOf(record));
      await verb("write", id, (database) => {
        const isFree = database.transactionSync(() => {
          if (database.get(id) !== undefined) return false;
          database.putSync(id, value);
          return true;
        });
        if (!isFree) throw alreadyExists(id);
      });
    },

    async write(id, record) {
      checkId("id", id);
      const text = textOf(record);
      await verb("write", id, (database) => {
        const isThere = database.transactionSync(() => {
          const old = load(database, id); // a record that cannot be read is never written over
          if (old) database.putSync(id, encode(id, old.generation + 1, text));
          return old !== undefined;
        });
        if (!isThere) throw notFound(id);
      });
    },

    async read(id) {
      checkId("id", id);
      return (await verb("read", id, (database) => load(database, id)))?.record;
    },

    async list() {
      await sweepFileLocks(locks).catch(onSweepFailed);
      return verb("list", undefined, (database) => [...database.getKeys()].map(String).sort());
    },

    async remove(id) {
      checkId("id", id);
      await verb("remove a record from", id, (database) => database.transactionSync(() => database.removeSync(id)));
    },

    async lock(id: string, call: Call) {
      checkId("id", id);
      try {
        await makeDirectory(locks);
        const lock = await acquireFileLock(locks, id, call.signal);
        held.add(lock);
        return {
          async release() {
            await lock.release();
            held.delete(lock);
          },
        };
      } catch (error) {
        throw explain("lock", join(locks, id), id, error);
      }
    },

    async close() {
      await turns.run(async () => {
        await opened?.close();
        opened = undefined;
      });
      for (const lock of held) await lock.release();
      held.clear();
    },
  };
}

async function openFile(lmdb: Lmdb, file: string): Promise<LmdbDatabase> {
  await makeDirectory(dirname(file));
  // Made here for its mode; an empty file is a new database.
  await writeFile(file, "", { flag: "wx", mode: 0o600 }).catch((error) => {
    if (errnoOf(error) !== "EEXIST") throw error;
  });
  await checkFile(file);
  // By default a commit would return before it is on disk.
  return lmdb.open({ path: file, noSubdir: true, encoding: "binary", overlappingSync: false });
}

/** Makes a private directory with its parents, on disk when it resolves. */
async function makeDirectory(path: string): Promise<void> {
  const first = await mkdir(path, { recursive: true, mode: 0o700 });
  if (first === undefined) return;
  for (let made = path; made.length >= first.length; made = dirname(made)) {
    const parent = await open(dirname(made), constants.O_RDONLY | constants.O_DIRECTORY);
    await parent.sync().finally(() => parent.close());
  }
}
