import { posix } from "node:path";
import { findInRootfs } from "./find-in-rootfs.ts";

/** How the runtime looked for a command, for telling why it did not find it. */
export interface CommandSearch {
  readonly command: string;
  /** Whether something of that name exists, executable or not. */
  exists(): Promise<boolean>;
}

/** The search of a process's first argument in a rootfs: by path, or in each directory of the PATH in its environment. */
export function commandSearch(rootfs: string, process: { args: readonly string[]; env: readonly string[]; cwd: string }): CommandSearch {
  const command = process.args[0] ?? "";
  return {
    command,
    async exists() {
      for (const candidate of candidates(command, process)) if (await findInRootfs(rootfs, candidate)) return true;
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
