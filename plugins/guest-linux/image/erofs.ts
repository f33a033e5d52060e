import { chmod } from "node:fs/promises";
import type { Call } from "tapvisor/plugin";
import { needProgram, runProgram } from "./program.ts";

/**
 * Uncompressed: under emulation the processor is the bottleneck, never the disk, and the host's page cache holds one copy for all guests.
 * Times, owners and the file system's id are fixed and extended attributes left out, so the same tree gives the same bytes.
 */
export const EROFS_OPTIONS = ["-T0", "-U00000000-0000-4000-8000-000000000000", "--all-root", "-x-1", "--quiet"] as const;

/** Makes a read-only erofs image of a directory. Deadline: 2 minutes. @throws HOST_MISSING without erofs-utils. */
export async function makeErofs(image: string, directory: string, call: Call): Promise<void> {
  const program = await needProgram("mkfs.erofs", "erofs-utils");
  await runProgram(program, [...EROFS_OPTIONS, image, directory], call, { action: "make the guest's image", timeoutMs: 120_000 });
  await chmod(image, 0o444);
}
