import { constants } from "node:fs";
import { link, mkdir, open, readdir, rename, unlink } from "node:fs/promises";
import { dirname } from "node:path";

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

/** The host's own disk. */
export const hostFiles: Files = {
  async makeDirectory(path) {
    const first = await mkdir(path, { recursive: true, mode: 0o700 });
    if (first === undefined) return;
    for (let made = path; made.length >= first.length; made = dirname(made)) await hostFiles.syncDirectory(dirname(made));
  },

  async writeNew(path, bytes) {
    const file = await open(path, "wx", 0o600);
    try {
      await file.writeFile(bytes);
      // After a failed sync nobody knows what is on disk, and a second sync would lie: the write fails.
      await file.sync();
    } finally {
      await file.close();
    }
  },

  link,
  rename,
  unlink,

  async syncDirectory(path) {
    const directory = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      await directory.sync();
    } finally {
      await directory.close();
    }
  },

  async read(path) {
    // Without O_NONBLOCK the open of a FIFO would wait for a writer for ever.
    const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      if (!(await file.stat()).isFile()) throw Object.assign(new Error("not a regular file"), { code: "EISDIR" });
      return await file.readFile();
    } finally {
      await file.close();
    }
  },

  list: (path) => readdir(path),
};
