import { lstat, readdir } from "node:fs/promises";
import type { Bytes } from "../base/units.ts";

/** What a directory's files take on the disk, a file of several names once; `undefined` when it cannot be found out before the signal fires. */
export async function diskUsage(directory: string, signal?: AbortSignal): Promise<Bytes | undefined> {
  let bytes = 0;
  const linked = new Set<string>();
  const waiting = [Buffer.from(directory)];
  try {
    for (let path = waiting.pop(); path; path = waiting.pop()) {
      if (signal?.aborted) return undefined;
      const stats = await lstat(path);
      const file = `${stats.dev}:${stats.ino}`;
      if (!stats.isDirectory() && stats.nlink > 1 && linked.has(file)) continue;
      if (!stats.isDirectory() && stats.nlink > 1) linked.add(file);
      bytes += stats.blocks * 512;
      if (!stats.isDirectory()) continue;
      const parent = path;
      for (const name of await readdir(path, { encoding: "buffer" })) waiting.push(Buffer.concat([parent, Buffer.from("/"), name]));
    }
    return bytes as Bytes;
  } catch {
    return undefined; // it changed meanwhile, cannot be read, or is deeper than a path may be long
  }
}
