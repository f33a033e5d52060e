import type { Stats } from "node:fs";
import { type FileHandle, statfs } from "node:fs/promises";
import { FileError } from "./file-error.ts";
import { pathOf } from "./flags.ts";

/** The kernel's own: proc, sysfs, cgroup, cgroup2, debugfs, tracefs, securityfs, bpf, configfs, binfmt_misc. A write there does something. */
const KERNEL_FILE_SYSTEMS: ReadonlySet<number> = new Set([
  0x9fa0, 0x62656572, 0x27e0eb, 0x63677270, 0x64626720, 0x74726163, 0x73636673, 0xcafe4a11, 0x62656570, 0x42494e4d,
]);

/** @throws EISDIR, or EINVAL for what is neither: to open a device or a FIFO could wait for ever, or do something. */
export function regular(stats: Stats): Stats {
  if (stats.isFile()) return stats;
  if (stats.isDirectory()) throw new FileError("EISDIR", "Cannot use a directory as a file");
  const what = stats.isFIFO() ? "a FIFO" : stats.isSocket() ? "a socket" : stats.isSymbolicLink() ? "a link" : "a device";
  throw new FileError("EINVAL", `Cannot use ${what} as a file: wanted a regular one`);
}

/** @throws EPERM for a file of the kernel's: the agent may write what its container may not. */
export async function notOfKernel(entry: FileHandle): Promise<void> {
  if (KERNEL_FILE_SYSTEMS.has((await statfs(pathOf(entry))).type))
    throw new FileError("EPERM", "Cannot write a file of the kernel's: run a command in the container for that");
}
