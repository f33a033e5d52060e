import { readdir, readlink } from "node:fs/promises";
import { isAlive, onceAborted } from "tapvisor/plugin";
import type { Machine } from "./machine.ts";
import { dyingWithThisProcess, killTree, spawnProcess } from "./process.ts";

/** What the kernel shows for a file that has no name, as a VM's memory is. */
const NAMELESS = / \(deleted\)$/;

/**
 * Gives the host back the pages of a stopped VM's memory that hold nothing but zeros. QEMU touches every page when it saves a VM whole and when it reads one in,
 * and in memory that is shared each page that was touched is there from then on: a guest of 512 MiB that uses 130 would cost all of them. The guest must not run: what it
 * wrote between the look and the giving back would be lost. It is a saving: where it cannot be made, nothing is.
 */
export async function digHoles({ identity }: Pick<Machine, "identity">, signal: AbortSignal): Promise<void> {
  const directory = `/proc/${identity.pid}/fd`;
  const names = await readdir(directory).catch(() => []);
  const links = await Promise.all(names.map(async (name) => [name, await readlink(`${directory}/${name}`).catch(() => "")] as const));
  for (const [name, target] of links) {
    if (!NAMELESS.test(target) || signal.aborted || !(await isAlive(identity))) continue;
    await dig(`${directory}/${name}`, signal).catch(() => {});
  }
}

async function dig(file: string, signal: AbortSignal): Promise<void> {
  const { exited, identity } = await spawnProcess(dyingWithThisProcess(["fallocate", "--dig-holes", file]), ["ignore", "ignore", "ignore"]);
  await Promise.race([exited, onceAborted(signal)]);
  if (signal.aborted && identity) await killTree(identity);
  await exited; // it must not be at work when the guest runs again
}
