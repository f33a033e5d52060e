import type { Stats } from "node:fs";
import { lstat, open, readdir } from "node:fs/promises";
import { errnoOf, throwIfAborted } from "tapvisor/plugin";

/** What a directory holds. */
export interface Measure {
  /** Files, directories and the rest. */
  readonly entries: number;
  /** The sum of the files' sizes. */
  readonly bytes: number;
  /** What the files really take on the disk: less than `bytes` where some have holes. */
  readonly allocated: number;
  /** The file with the largest holes. */
  readonly sparsest: { readonly path: string; readonly holes: number };
}

/**
 * Measures a directory, links not followed. Names are bytes: they need not be UTF-8. A file that vanishes meanwhile does not count.
 *
 * @throws the system's error, with its `path`, for what cannot be read: a program that copies it would not say which file it was.
 */
export async function measure(directory: string, signal: AbortSignal): Promise<Measure> {
  const total = { entries: 0, bytes: 0, allocated: 0, sparsest: { path: directory, holes: 0 } };
  const waiting = [Buffer.from(directory)];
  for (let current = waiting.pop(); current; current = waiting.pop()) {
    throwIfAborted(signal, `measuring ${directory}`);
    const parent = current;
    const names = await readdir(parent, { encoding: "buffer" }).catch(unlessGone([]));
    const paths = names.map((name) => Buffer.concat([parent, Buffer.from("/"), name]));
    for (const [index, stats] of (await Promise.all(paths.map(look))).entries()) {
      const path = paths[index];
      if (!stats || !path) continue;
      total.entries++;
      if (stats.isDirectory()) waiting.push(path);
      if (!stats.isFile()) continue;
      const allocated = Math.min(stats.blocks * 512, stats.size);
      total.bytes += stats.size;
      total.allocated += allocated;
      if (stats.size - allocated > total.sparsest.holes) total.sparsest = { path: path.toString(), holes: stats.size - allocated };
    }
  }
  return total;
}

async function look(path: Buffer): Promise<Stats | undefined> {
  try {
    const stats = await lstat(path);
    // Root reads everything; another user finds out by trying.
    if (stats.isFile() && process.geteuid?.() !== 0) await (await open(path)).close();
    return stats;
  } catch (error) {
    return unlessGone(undefined)(error);
  }
}

function unlessGone<T>(instead: T): (error: unknown) => T {
  return (error) => {
    if (errnoOf(error) === "ENOENT") return instead;
    throw error;
  };
}
