import { createHash } from "node:crypto";
import { readdir, readlink, symlink, unlink } from "node:fs/promises";
import { join } from "node:path";
import { errnoOf } from "./errors.ts";
import { isAlive, ownIdentity, type ProcessIdentity } from "./process-identity.ts";

/**
 * A lock is a symbolic link whose target is the holder's name. `symlink` makes it in one step, only where nothing is, and complete: an
 * empty file made with O_EXCL and filled afterwards would, after a crash between the two, be a lock that nobody could judge.
 */
export interface Holder {
  /** `undefined` when the text is not one that a live process wrote: a power cut's remains. */
  readonly identity: ProcessIdentity | undefined;
  /** Unique to one taking of the lock. */
  readonly nonce: string;
}

const TEXT = /^(\d+):(\d+):([0-9a-f-]{36}):([0-9a-f]{32})$/;

export function lockPath(directory: string, id: string): string {
  return join(directory, `${id}.lock`);
}

/** Puts this process's name there; `false` when another's is. */
export async function plant(path: string, nonce: string): Promise<boolean> {
  const { pid, startTime, bootId } = await ownIdentity();
  try {
    await symlink(`${pid}:${startTime}:${bootId}:${nonce}`, path);
    return true;
  } catch (error) {
    if (errnoOf(error) === "EEXIST") return false;
    throw error;
  }
}

/** Whose lock it is; `undefined` when there is none. */
export async function readHolder(path: string): Promise<Holder | undefined> {
  let text: string;
  try {
    text = await readlink(path);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return undefined;
    if (errnoOf(error) !== "EINVAL") throw error;
    text = ""; // something that is no link
  }
  const [, pid, startTime, bootId, nonce] = TEXT.exec(text) ?? [];
  if (pid !== undefined && startTime !== undefined && bootId !== undefined && nonce !== undefined) {
    return { identity: { pid: Number(pid), startTime, bootId }, nonce };
  }
  return { identity: undefined, nonce: createHash("sha256").update(text).digest("hex").slice(0, 32) };
}

export async function holderLives(holder: Holder): Promise<boolean> {
  return holder.identity !== undefined && (await isAlive(holder.identity));
}

/**
 * Takes away the lock of a dead holder; `false` when a live process is just doing it.
 *
 * Reading "dead" and unlinking are two steps: between them another breaker may have unlinked and a third process locked anew, whose lock
 * would be taken away. So the right to break one taking (its nonce) is itself planted under a name made of the nonce: one breaker has it,
 * and looks again before it unlinks. When that breaker died too, the next has the next number. These claims are removed only once the
 * broken lock is gone, so a late one finds another nonce and does nothing.
 */
export async function breakLock(directory: string, id: string, dead: Holder): Promise<boolean> {
  const lock = lockPath(directory, id);
  for (let number = 0; ; number++) {
    const claim = join(directory, `${id}.break.${dead.nonce}.${number}`);
    if (await plant(claim, dead.nonce)) {
      try {
        if ((await readHolder(lock))?.nonce === dead.nonce) await unlink(lock);
      } catch (error) {
        await remove(claim);
        throw error;
      }
      await removeClaims(directory, id, dead.nonce);
      return true;
    }
    const other = await readHolder(claim);
    if (other === undefined) return true;
    if (await holderLives(other)) return false;
  }
}

/** Takes away the locks of dead holders and the claims that dead breakers left. */
export async function sweepLocks(directory: string): Promise<void> {
  for (const name of await names(directory)) {
    const [, id] = /^(.+)\.lock$/.exec(name) ?? [];
    const [, claimed, nonce] = /^(.+)\.break\.([0-9a-f]{32})\.\d+$/.exec(name) ?? [];
    if (id !== undefined) {
      const holder = await readHolder(join(directory, name));
      if (holder && !(await holderLives(holder))) await breakLock(directory, id, holder);
    } else if (claimed !== undefined && nonce !== undefined) {
      const breaker = await readHolder(join(directory, name));
      if (!breaker || (await holderLives(breaker))) continue;
      // A dead breaker's claim still counts as long as the lock it wanted to break stands.
      if ((await readHolder(lockPath(directory, claimed)))?.nonce !== nonce) await remove(join(directory, name));
    }
  }
}

/** Removes a link; none is success. */
export async function remove(path: string): Promise<void> {
  await unlink(path).catch((error) => {
    if (errnoOf(error) !== "ENOENT") throw error;
  });
}

async function removeClaims(directory: string, id: string, nonce: string): Promise<void> {
  const prefix = `${id}.break.${nonce}.`;
  for (const name of await names(directory)) if (name.startsWith(prefix)) await remove(join(directory, name));
}

async function names(directory: string): Promise<readonly string[]> {
  return readdir(directory).catch((error) => {
    if (errnoOf(error) === "ENOENT") return [];
    throw error;
  });
}
