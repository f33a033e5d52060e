import { createHash, randomBytes } from "node:crypto";
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";

/**
 * Which content a request gave last time, and the stamps of all files that went into it: while every stamp is the same nothing is read,
 * hashed or built. A stamp that differs costs a look at the contents, no more.
 */
interface Remembered {
  readonly content: string;
  readonly stamps: Readonly<Record<string, string>>;
}

const FOLDER = "requests";

/** The name of a request: everything that decides which files go into the guest. */
export function requestKey(request: unknown): string {
  return createHash("sha256").update(JSON.stringify(request)).digest("hex");
}

/** The stamps of files: size, times and inode. Take them before reading, so that a later change is never missed. */
export async function stampsOf(paths: readonly string[]): Promise<Record<string, string>> {
  return Object.fromEntries(await Promise.all([...new Set(paths)].sort().map(async (path) => [path, await stampOf(path)] as const)));
}

/** What an equal request gave before; `undefined` when nothing, or when a file has changed since. */
export async function recall(cache: string, key: string): Promise<string | undefined> {
  const remembered = await read(join(cache, FOLDER, `${key}.json`));
  if (remembered === undefined) return undefined;
  const now = await stampsOf(Object.keys(remembered.stamps));
  return Object.entries(remembered.stamps).every(([path, stamp]) => stamp !== "" && now[path] === stamp) ? remembered.content : undefined;
}

export async function remember(cache: string, key: string, remembered: Remembered): Promise<void> {
  await mkdir(join(cache, FOLDER), { recursive: true });
  const file = join(cache, FOLDER, `${key}.json`);
  const temporary = `${file}.${randomBytes(6).toString("hex")}.tmp`;
  try {
    await writeFile(temporary, JSON.stringify(remembered));
    await rename(temporary, file);
  } finally {
    await rm(temporary, { force: true });
  }
}

/** Forgets requests whose content is gone. */
export async function pruneRequests(cache: string, contents: ReadonlySet<string>): Promise<void> {
  for (const name of await readdir(join(cache, FOLDER)).catch(() => [])) {
    if (!name.endsWith(".json")) continue;
    const file = join(cache, FOLDER, name);
    const remembered = await read(file);
    if (remembered === undefined || !contents.has(remembered.content)) await rm(file, { force: true });
  }
}

async function read(file: string): Promise<Remembered | undefined> {
  try {
    const value = JSON.parse(await readFile(file, "utf8")) as Partial<Remembered>;
    return typeof value.content === "string" && /^[0-9a-f]{64}$/.test(value.content) && typeof value.stamps === "object"
      ? { content: value.content, stamps: value.stamps ?? {} }
      : undefined;
  } catch {
    return undefined;
  }
}

/** Empty when the file cannot be looked at. */
async function stampOf(path: string): Promise<string> {
  const stats = await stat(path, { bigint: true }).catch(() => undefined);
  return stats ? `${stats.size}:${stats.mtimeNs}:${stats.ctimeNs}:${stats.dev}:${stats.ino}` : "";
}
