import { chmod, readdir, rename, rmdir, unlink } from "node:fs/promises";
import { throwIfAborted } from "../base/deadline.ts";
import { errnoOf } from "../base/errors.ts";
import { newId } from "../base/ids.ts";

/**
 * Removes a directory that a guest has filled. A guest makes names that are no text, and trees deeper than a path may be long: names are taken
 * as bytes, and each directory is moved up to the top before it is emptied, so that every path stays short. Links are not followed. Two
 * removals of one tree do not disturb each other; not there is success.
 *
 * @throws ABORTED between two files when the signal fires.
 */
export async function removeTree(top: string, signal?: AbortSignal): Promise<void> {
  const prefix = newId("d");
  let moved = 0;
  const waiting = [top];
  for (let directory = waiting.pop(); directory !== undefined; directory = waiting.pop()) {
    await chmod(directory, 0o700).catch(() => {}); // its owner may not have let himself in
    for (const name of await readdir(directory, { encoding: "buffer" }).catch(gone([]))) {
      throwIfAborted(signal, `removing ${top}`);
      const path = Buffer.concat([Buffer.from(`${directory}/`), name]);
      if (await unlinkFile(path)) continue;
      await chmod(path, 0o700).catch(() => {}); // moving a directory takes the right to write to it
      const place = `${top}/${prefix}-${moved++}`;
      await rename(path, place).catch(gone(undefined));
      waiting.push(place);
    }
    if (!(await removeEmpty(directory))) waiting.unshift(directory); // the top still holds what was moved there
  }
}

/** `false` when something is in it. */
async function removeEmpty(directory: string): Promise<boolean> {
  try {
    await rmdir(directory);
  } catch (error) {
    if (errnoOf(error) === "ENOTEMPTY") return false;
    gone(undefined)(error);
  }
  return true;
}

/** `false` when it is a directory. */
async function unlinkFile(path: Buffer): Promise<boolean> {
  try {
    await unlink(path);
  } catch (error) {
    if (errnoOf(error) === "EISDIR") return false;
    gone(undefined)(error);
  }
  return true;
}

function gone<T>(instead: T): (error: unknown) => T {
  return (error) => {
    if (errnoOf(error) === "ENOENT") return instead;
    throw error;
  };
}
