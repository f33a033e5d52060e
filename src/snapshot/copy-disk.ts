import { execFile } from "node:child_process";
import { link, rm } from "node:fs/promises";
import { promisify } from "node:util";
import { throwIfAborted } from "../base/deadline.ts";
import { errnoOf, messageOf, TapvisorError } from "../base/errors.ts";

/**
 * Copies a disk image that nobody writes to meanwhile: by sharing its blocks where the file system can, and holes stay holes. `from` is never written to.
 * @throws STATE_IO, ABORTED; `to` is not there then.
 */
export async function copyDisk(from: string, to: string, signal: AbortSignal): Promise<void> {
  try {
    await promisify(execFile)("cp", ["--reflink=auto", "--sparse=always", "--no-preserve=mode", "--", from, to], {
      signal,
      env: { ...process.env, LC_ALL: "C" },
    });
  } catch (cause) {
    await rm(to, { force: true }).catch(() => {});
    throwIfAborted(signal, "copying a disk");
    const { stderr = "" } = cause as { readonly stderr?: string };
    throw new TapvisorError("STATE_IO", `Cannot copy the disk "${from}" to "${to}": ${stderr.trim() || messageOf(cause)}`, {
      data: { file: to, operation: "copy", errno: /No space left/.test(stderr) ? "ENOSPC" : errnoOf(cause) },
      cause,
    });
  }
}

/** A disk image that nobody ever writes to, under another name: the same file where that is possible. */
export async function linkDisk(from: string, to: string, signal: AbortSignal): Promise<void> {
  try {
    await link(from, to);
  } catch {
    await copyDisk(from, to, signal); // another file system, or another's file
  }
}
