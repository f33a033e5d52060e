import { readFileSync } from "node:fs";

/**
 * The text of one of the kernel's files, `undefined` when it is not there. Synchronous, as all of this folder: the kernel makes the text on the spot,
 * and for the many files of one container's counters the turns through the thread pool are what would take time.
 */
export function text(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENODEV") return undefined;
    throw error;
  }
}

/** A file that holds one number; 0 when it is not there. */
export function counter(path: string): string {
  return text(path)?.trim() ?? "0";
}

/** Lines of a name and a number. */
export function counters(lines = ""): ReadonlyMap<string, string> {
  return new Map([...lines.matchAll(/^(\S+) (\d+)$/gm)].map(([, name = "", value = "0"]) => [name, value]));
}
