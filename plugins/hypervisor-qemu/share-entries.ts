import { realpath, stat } from "node:fs/promises";
import { messageOf, type ShareEntry, TapvisorError } from "tapvisor/plugin";

/** An entry whose source has been looked at. */
export interface CheckedEntry extends ShareEntry {
  /** `device:inode` of the source, so that a source exchanged before it is mounted is noticed. */
  readonly file: string;
}

/** Becomes one path component on the host's side of the share: never `.`, `..` or hidden. */
const NAME = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$/;

/**
 * Follows each source's symbolic links to what will be shared, and checks it.
 *
 * @throws INVALID_INPUT naming the entry when its name cannot be a file name or is taken, or its source is not there or of another type.
 */
export async function checkEntries(entries: readonly ShareEntry[]): Promise<CheckedEntry[]> {
  const names = new Set<string>();
  const checked: CheckedEntry[] = [];
  for (const [index, entry] of entries.entries()) {
    const path = `entries[${index}]`;
    if (!NAME.test(entry.name)) throw refuse(`${path}.name`, entry.name, "a file name of letters, digits, _, . and -");
    if (names.has(entry.name)) throw refuse(`${path}.name`, entry.name, "a name that no other entry has");
    names.add(entry.name);
    checked.push(await checkSource(`${path}.source`, entry));
  }
  return checked;
}

async function checkSource(path: string, entry: ShareEntry): Promise<CheckedEntry> {
  const wanted = `the absolute path of a ${entry.type}`;
  if (!entry.source.startsWith("/")) throw refuse(path, entry.source, wanted);
  const source = await realpath(entry.source).catch((cause: unknown) => {
    throw refuse(path, entry.source, wanted, messageOf(cause), cause);
  });
  const found = await stat(source, { bigint: true });
  const type = found.isDirectory() ? "directory" : found.isFile() ? "file" : "special file";
  if (type !== entry.type) throw refuse(path, entry.source, wanted, `it is a ${type}`);
  return { ...entry, source, file: `${found.dev}:${found.ino}` };
}

function refuse(path: string, value: string, wanted: string, found?: string, cause?: unknown): TapvisorError {
  const current = found === undefined ? "" : ` ${found},`;
  return new TapvisorError("INVALID_INPUT", `Cannot share ${path} ${JSON.stringify(value)}:${current} wanted ${wanted}`, {
    data: { path, value, wanted },
    cause,
  });
}
