import { lstat, readlink } from "node:fs/promises";
import { posix } from "node:path";

/** How the runtime looked for a command, for telling why it did not find it. */
export interface CommandSearch {
  readonly command: string;
  /** Whether something of that name exists, executable or not. */
  exists(): Promise<boolean>;
}

const MAX_LINKS = 40;

/** The search of a process's first argument in a rootfs: by path, or in each directory of the PATH in its environment. */
export function commandSearch(rootfs: string, process: { args: readonly string[]; env: readonly string[]; cwd: string }): CommandSearch {
  const command = process.args[0] ?? "";
  return {
    command,
    async exists() {
      for (const candidate of candidates(command, process)) if (await existsIn(rootfs, candidate)) return true;
      return false;
    },
  };
}

function candidates(command: string, { env, cwd }: { env: readonly string[]; cwd: string }): readonly string[] {
  if (command === "") return [];
  if (command.includes("/")) return [posix.resolve("/", cwd, command)];
  const path = env.findLast((entry) => entry.startsWith("PATH="))?.slice("PATH=".length) ?? "";
  return path.split(":").map((directory) => posix.resolve("/", cwd, directory, command));
}

/** Follows links as the container would, so that an absolute one stays inside the rootfs; only ever looks, and only to word an error. */
async function existsIn(rootfs: string, path: string): Promise<boolean> {
  let rest = path.split("/").filter(Boolean);
  let at = "/";
  for (let links = 0; rest.length > 0; ) {
    const [name = "", ...after] = rest;
    const next = posix.join(at, name);
    const found = await lstat(posix.join(rootfs, next)).catch(() => undefined);
    if (!found) return false;
    if (found.isSymbolicLink()) {
      if (++links > MAX_LINKS) return false;
      const target = posix.resolve(at, await readlink(posix.join(rootfs, next)).catch(() => name));
      rest = [...target.split("/").filter(Boolean), ...after];
      at = "/";
    } else {
      rest = after;
      at = next;
    }
  }
  return true;
}
