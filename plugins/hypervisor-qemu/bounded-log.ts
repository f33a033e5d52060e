import { type FileHandle, open } from "node:fs/promises";
import type { Duplex } from "node:stream";
import { KiB } from "tapvisor/plugin";
import { type Spawned, spawnProcess } from "./process.ts";

/** A log is this file and an older one of the same size, `<file>.1`: what a guest can fill of the disk. */
export const LOG_BYTES = 256 * KiB;

/**
 * `head` stops after exactly so many bytes and leaves the rest in the pipe to the next one; `stdbuf` makes it write what it has at once.
 * Each ends with its input, so this needs nobody to end it.
 */
const KEEP = `
keep() {
  while :; do
    stdbuf -o0 head -c "$limit" >"$1"
    [ "$(wc -c <"$1")" -ge "$limit" ] || break
    mv "$1" "$1.1"
  done
}
limit=$1; shift
[ $# -eq 1 ] || keep "$2" <&4 3<&- 4<&- &
keep "$1" <&3 3<&- 4<&-
wait
`;

export interface BoundedLogs {
  /** Give each to a process as its output, then destroy it here: the log ends when the last writer has closed it. */
  readonly inputs: readonly Duplex[];
  readonly process: Spawned;
}

/**
 * Starts the process that keeps the tail of one or two outputs in files. QEMU itself has no bounded log, and a file that the script
 * bounds grows without end when the VM outlives the script.
 */
export async function startLogs(files: readonly string[], mark: string): Promise<BoundedLogs> {
  const pipes = files.map(() => "pipe" as const);
  const spawned = await spawnProcess(["sh", "-c", KEEP, mark, String(LOG_BYTES), ...files], ["ignore", "ignore", "ignore", ...pipes]);
  spawned.child.unref(); // it follows the process it listens to
  return { inputs: spawned.child.stdio.slice(3) as Duplex[], process: spawned };
}

/** The last `maxBytes` of a log; empty when there is none. */
export async function readLogTail(file: string, maxBytes: number): Promise<string> {
  // Opened before either is read: what is moved aside in between is then seen as one file twice, not lost.
  const current = await open(file).catch(() => undefined);
  const older = await open(`${file}.1`).catch(() => undefined);
  try {
    const tail = await readTail(current, maxBytes);
    const moved = current && older && (await current.stat()).ino === (await older.stat()).ino;
    const before = moved ? Buffer.alloc(0) : await readTail(older, maxBytes - tail.length);
    return Buffer.concat([before, tail]).toString("utf8");
  } finally {
    await current?.close();
    await older?.close();
  }
}

async function readTail(handle: FileHandle | undefined, maxBytes: number): Promise<Buffer> {
  if (!handle || maxBytes <= 0) return Buffer.alloc(0);
  const { size } = await handle.stat();
  const length = Math.min(size, maxBytes);
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(length), 0, length, size - length);
  return buffer.subarray(0, bytesRead);
}
