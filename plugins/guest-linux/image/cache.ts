import { mkdir, mkdtemp, readdir, rename, rm, stat, utimes } from "node:fs/promises";
import { join } from "node:path";
import { TapvisorError } from "tapvisor/plugin";
import { filesIn, type GuestFiles, isWhole } from "./entry.ts";
import { pruneRequests } from "./requests.ts";

const KEPT_ENTRIES = 3;
/** An entry used within this time is never removed: a VM may be about to open its files. */
const RECENT_MS = 10 * 60_000;
/** Work of a process that died; a build takes seconds. */
const ABANDONED_MS = 60 * 60_000;
const WORK_PREFIX = ".work-";

/** A new private directory for a build, on the cache's own file system, so that the result can be renamed into place. */
export async function newWorkDirectory(cache: string): Promise<string> {
  await mkdir(cache, { recursive: true });
  return mkdtemp(join(cache, WORK_PREFIX));
}

/** Removes the work directories of builds that died. */
export async function removeAbandoned(cache: string): Promise<void> {
  for (const name of await readdir(cache).catch(() => [])) {
    if (!name.startsWith(WORK_PREFIX) || (await ageOf(join(cache, name))) < ABANDONED_MS) continue;
    await rm(join(cache, name), { recursive: true, force: true });
  }
}

/** The entry of this content when it is whole; marks it as used. */
export async function findEntry(cache: string, content: string): Promise<GuestFiles | undefined> {
  const files = filesIn(join(cache, content));
  if (!(await isWhole(files))) return undefined;
  const now = new Date();
  await utimes(files.directory, now, now).catch(() => {}); // a cache that another user filled cannot be marked, and is fine
  return files;
}

/**
 * Puts a sealed entry in its place by one rename. When another process was faster its entry stays, for a VM may be reading it, and when
 * a damaged one is in the way it is replaced.
 */
export async function addEntry(cache: string, content: string, built: GuestFiles): Promise<GuestFiles> {
  const place = join(cache, content);
  for (let attempt = 0; attempt < 3; attempt++) {
    try {
      await rename(built.directory, place);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== "ENOTEMPTY" && code !== "EEXIST") throw error;
    }
    const entry = await findEntry(cache, content);
    if (entry) return entry;
    const damaged = await newWorkDirectory(cache);
    await rename(place, join(damaged, content)).catch(() => {}); // another process may have moved it first
    await rm(damaged, { recursive: true, force: true });
  }
  throw new TapvisorError("INTERNAL", `Cannot keep the guest in ${place}: it is damaged each time it is written`, {
    data: { detail: place },
  });
}

/** Removes all but the newest 3 entries, except those just used, and what dead builds left. */
export async function prune(cache: string): Promise<void> {
  await removeAbandoned(cache);
  const names = (await readdir(cache)).filter((name) => /^[0-9a-f]{64}$/.test(name));
  const entries = await Promise.all(names.map(async (name) => ({ name, age: await ageOf(join(cache, name)) })));
  entries.sort((a, b) => a.age - b.age);
  const old = entries.slice(KEPT_ENTRIES).filter(({ age }) => age > RECENT_MS);
  for (const { name } of old) await rm(join(cache, name), { recursive: true, force: true });
  await pruneRequests(cache, new Set(entries.filter((entry) => !old.includes(entry)).map(({ name }) => name)));
}

/** Milliseconds since a path was written or marked; 0 when it is gone. */
async function ageOf(path: string): Promise<number> {
  const stats = await stat(path).catch(() => undefined);
  return stats ? Date.now() - stats.mtimeMs : 0;
}
