import { closeSync, constants, fstatSync, fsync, linkSync, openSync, readFileSync, renameSync, unlinkSync, writeFileSync } from "node:fs";
import { mkdir, readdir } from "node:fs/promises";
import { dirname } from "node:path";
import { promisify } from "node:util";

const sync = promisify(fsync);

/** The few things the store asks of a disk, so that a test can put one there that loses its power. Failures carry the system's `code`. */
export interface Files {
  /** Makes a private directory with its parents, on disk when it resolves. One that is there is success. */
  makeDirectory(path: string): Promise<void>;
  /** Makes a private file that must not be there yet, its bytes on disk when it resolves; its name only after `syncDirectory`. */
  writeNew(path: string, bytes: Uint8Array): Promise<void>;
  /** A second name for a file; fails with EEXIST when the name is taken. */
  link(from: string, to: string): Promise<void>;
  /** Moves a name over another in one step. */
  rename(from: string, to: string): Promise<void>;
  unlink(path: string): Promise<void>;
  /** Brings the names in a directory to disk. */
  syncDirectory(path: string): Promise<void>;
  /** The bytes of a regular file; anything else, a link too, is refused. */
  read(path: string): Promise<Uint8Array>;
  list(path: string): Promise<readonly string[]>;
}

/**
 * The host's own disk.
 *
 * Only what waits for the disk (`fsync`) goes to the thread pool. The rest are system calls of some microseconds on a small file, while each
 * hop to the pool and back costs a wake-up, which a host whose cores are busy with guests answers late: a write made of ten such hops took
 * twice as long.
 */
export const hostFiles: Files = {
  async makeDirectory(path) {
    const first = await mkdir(path, { recursive: true, mode: 0o700 });
    if (first === undefined) return;
    for (let made = path; made.length >= first.length; made = dirname(made)) await hostFiles.syncDirectory(dirname(made));
  },

  async writeNew(path, bytes) {
    const file = openSync(path, "wx", 0o600);
    try {
      writeFileSync(file, bytes);
      // After a failed sync nobody knows what is on disk, and a second sync would lie: the write fails.
      await sync(file);
    } finally {
      closeSync(file);
    }
  },

  link: async (from, to) => linkSync(from, to),
  rename: async (from, to) => renameSync(from, to),
  unlink: async (path) => unlinkSync(path),

  async syncDirectory(path) {
    const directory = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      await sync(directory);
    } finally {
      closeSync(directory);
    }
  },

  async read(path) {
    // Without O_NONBLOCK the open of a FIFO would wait for a writer for ever.
    const file = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      if (!fstatSync(file).isFile()) throw Object.assign(new Error("not a regular file"), { code: "EISDIR" });
      return readFileSync(file);
    } finally {
      closeSync(file);
    }
  },

  list: (path) => readdir(path),
};
