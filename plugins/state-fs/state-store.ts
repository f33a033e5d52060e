import { join } from "node:path";
import {
  acquireFileLock,
  type Call,
  checkId,
  errnoOf,
  isTapvisorError,
  messageOf,
  type StateLock,
  type StateStore,
  sweepFileLocks,
} from "tapvisor/plugin";
import { decode, type Envelope, encode } from "./envelope.ts";
import { alreadyExists, corrupt, notFound, refused } from "./errors.ts";
import { type Files, hostFiles } from "./files.ts";
import { KeyedMutex } from "./keyed-mutex.ts";
import { isStaleTemporary, temporaryName } from "./temporary.ts";

const RECORD = ".json";

export interface FsStoreOptions {
  /** Absolute; made with mode 0700 by the first create or lock. */
  readonly directory: string;
  readonly files?: Files;
  /** Told when remains of dead processes could not be removed; nothing else depends on it. */
  readonly onSweepFailed?: (error: unknown) => void;
}

/**
 * A state store of one JSON file for each sandbox. A new content is written beside the old one, synced, put in its place in one step, and
 * the directory is synced: whenever the power goes, the file is the old or the new one.
 *
 * Writes of one record must not race with its removal by another process: hold its lock.
 */
export function createFsStore({ directory, files = hostFiles, onSweepFailed = () => {} }: FsStoreOptions): StateStore {
  const locks = join(directory, "locks");
  const held = new Map<StateLock, string>();
  const writes = new KeyedMutex();
  const fileOf = (id: string) => join(directory, `${checkId("id", id)}${RECORD}`);

  async function load(file: string): Promise<Envelope | undefined> {
    let bytes: Uint8Array;
    try {
      bytes = await files.read(file);
    } catch (cause) {
      if (errnoOf(cause) === "ENOENT") return undefined;
      if (["EISDIR", "ELOOP", "EIO", "ENXIO"].includes(errnoOf(cause))) throw corrupt(file, messageOf(cause), { cause });
      throw refused("read", file, cause);
    }
    return decode(file, bytes);
  }

  /** Writes the content beside the file, then lets `place` put it there. */
  async function put(file: string, envelope: Envelope, place: (temporary: string) => Promise<void>): Promise<void> {
    const bytes = encode(envelope);
    const temporary = join(directory, await temporaryName());
    try {
      await files.writeNew(temporary, bytes);
      await place(temporary);
    } catch (cause) {
      await files.unlink(temporary).catch(() => {}); // it may not be there; list() finds it otherwise
      if (isTapvisorError(cause)) throw cause;
      throw refused("write", file, cause);
    }
    await files.syncDirectory(directory).catch(async (cause) => {
      // A create that is reported as failed must not leave its id taken.
      if (envelope.generation === 1) await files.unlink(file).catch(() => {});
      throw refused("write", file, cause);
    });
  }

  async function unlock(id: string, lock: StateLock): Promise<void> {
    await lock.release().catch((cause) => {
      throw refused("unlock", join(locks, id), cause);
    });
    held.delete(lock);
  }

  /** Removes what processes that died in the middle left; records are never touched. */
  async function sweep(names: readonly string[]): Promise<void> {
    for (const name of names) if (await isStaleTemporary(name)) await unlinkIfThere(files, join(directory, name));
    await sweepFileLocks(locks);
  }

  return {
    async create(id, record) {
      const file = fileOf(id);
      await makeDirectory(files, directory);
      await writes.run(id, () =>
        put(file, { generation: 1, record }, async (temporary) => {
          // link, not rename: of two processes that create the same id, it lets one through
          await files.link(temporary, file).catch((cause) => {
            throw errnoOf(cause) === "EEXIST" ? alreadyExists(id) : cause;
          });
          await files.unlink(temporary).catch(() => {}); // a second name of the same bytes does no harm; list() finds it
        }),
      );
    },

    async write(id, record) {
      const file = fileOf(id);
      await writes.run(id, async () => {
        // A file that cannot be read is never written over: it may be a newer release's.
        const old = await load(file);
        if (!old) throw notFound(id);
        await put(file, { generation: old.generation + 1, record }, (temporary) => files.rename(temporary, file));
      });
    },

    read: async (id) => (await load(fileOf(id)))?.record,

    async list() {
      const names = await files.list(directory).catch((cause) => {
        if (errnoOf(cause) === "ENOENT") return [];
        throw refused("list", directory, cause);
      });
      await sweep(names).catch(onSweepFailed);
      return names.flatMap((name) => idOf(name) ?? []).sort();
    },

    async remove(id) {
      const file = fileOf(id);
      await writes.run(id, async () => {
        try {
          if (await unlinkIfThere(files, file)) await files.syncDirectory(directory);
        } catch (cause) {
          throw refused("remove", file, cause);
        }
      });
    },

    async lock(id: string, call: Call) {
      checkId("id", id);
      await makeDirectory(files, locks);
      try {
        const lock = await acquireFileLock(locks, id, call.signal);
        held.set(lock, id);
        return { release: () => unlock(id, lock) };
      } catch (cause) {
        throw isTapvisorError(cause) ? cause : refused("lock", join(locks, id), cause);
      }
    },

    async close() {
      for (const [lock, id] of held) await unlock(id, lock);
    },
  };
}

/** `false` when there was none. */
async function unlinkIfThere(files: Files, path: string): Promise<boolean> {
  try {
    await files.unlink(path);
    return true;
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return false;
    throw error;
  }
}

async function makeDirectory(files: Files, path: string): Promise<void> {
  await files.makeDirectory(path).catch((cause) => {
    throw refused("make the directory", path, cause);
  });
}

/** The id whose record a file name is; `undefined` for every other file. */
function idOf(name: string): string | undefined {
  if (!name.endsWith(RECORD)) return undefined;
  try {
    return checkId("id", name.slice(0, -RECORD.length));
  } catch {
    return undefined;
  }
}
