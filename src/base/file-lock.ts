import { randomBytes } from "node:crypto";
import { type FSWatcher, watch } from "node:fs";
import { TapvisorError } from "./errors.ts";
import { breakLock, type Holder, holderLives, lockPath, plant, readHolder, remove } from "./lock-file.ts";

export { sweepLocks as sweepFileLocks } from "./lock-file.ts";

/** A lock of a sandbox that this process holds. */
export interface FileLock {
  /** Gives it back; a second call does nothing. */
  release(): Promise<void>;
}

/**
 * How long a waiter goes without looking, ms. A release makes an event in the directory and is seen at once; a holder that dies makes
 * none, and neither does a directory that the kernel refuses to watch (its number of watches is limited).
 */
const LOOK_AGAIN_MS = 200;

/**
 * Takes the lock of sandbox `id` in an existing directory, waiting for its holder until `signal` fires; it excludes other processes and
 * other callers in this one. A holder is believed until its process is gone: neither the age of the lock nor its pid alone says so.
 *
 * @throws LOCKED with the holder's pid when the signal fires first; the system's own error when the directory refuses.
 */
export async function acquireFileLock(directory: string, id: string, signal: AbortSignal): Promise<FileLock> {
  const path = lockPath(directory, id);
  const nonce = randomBytes(16).toString("hex");
  let changes: Changes | undefined;
  try {
    for (;;) {
      if (signal.aborted) throw locked(id, await readHolder(path));
      // Armed before the look: a release between the look and the wait is not missed.
      const change = changes?.next();
      if (await plant(path, nonce)) return lockOf(path, nonce);
      const holder = await readHolder(path);
      if (!holder) continue;
      if (!(await holderLives(holder)) && (await breakLock(directory, id, holder))) continue;
      if (change) await firstOf(change, signal);
      else changes = watchFor(directory, `${id}.lock`);
    }
  } finally {
    changes?.close();
  }
}

function lockOf(path: string, nonce: string): FileLock {
  return {
    async release() {
      if ((await readHolder(path))?.nonce === nonce) await remove(path);
    },
  };
}

function locked(id: string, holder: Holder | undefined): TapvisorError {
  const pid = holder?.identity?.pid;
  const by = pid === process.pid ? "another engine of this process" : pid === undefined ? "another process" : `process ${pid}`;
  return new TapvisorError("LOCKED", `Cannot lock sandbox "${id}": ${by} holds the lock, wanted it free in time`, {
    data: { id, ...(pid === undefined ? {} : { holder: pid }) },
    hint: "wait for that process to finish, or end it: its lock goes with it",
  });
}

interface Changes {
  /** Resolves at the next change of the file. */
  next(): Promise<void>;
  close(): void;
}

function watchFor(directory: string, name: string): Changes {
  let wake: () => void = () => {};
  let watcher: FSWatcher | undefined;
  try {
    watcher = watch(directory, (_event, changed) => {
      if (changed === name || changed === null) wake();
    });
    watcher.on("error", () => watcher?.close());
  } catch {
    // no watches left: looking again is all there is
  }
  return {
    next: () =>
      new Promise((resolve) => {
        wake = resolve;
      }),
    close: () => watcher?.close(),
  };
}

async function firstOf(change: Promise<void>, signal: AbortSignal): Promise<void> {
  let done: () => void = () => {};
  let timer: NodeJS.Timeout | undefined;
  const other = new Promise<void>((resolve) => {
    done = resolve;
    timer = setTimeout(done, LOOK_AGAIN_MS);
    signal.addEventListener("abort", done, { once: true });
    if (signal.aborted) done();
  });
  await Promise.race([change, other]);
  clearTimeout(timer);
  signal.removeEventListener("abort", done);
}
