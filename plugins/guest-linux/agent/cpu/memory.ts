import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { messageOf } from "tapvisor/plugin";

/** Brings every memory block online that is not, in a way that lets it be taken out again. @throws Error naming those that the kernel refuses. */
export async function onlineMemory(sys: string): Promise<void> {
  const directory = join(sys, "devices/system/memory");
  const blocks = (await readdir(directory).catch(() => [])).filter((name) => /^memory\d+$/.test(name));
  const refused: string[] = [];
  for (const block of blocks) {
    const state = join(directory, block, "state");
    try {
      if ((await readFile(state, "utf8")).trim() === "offline") await writeFile(state, "online_movable");
    } catch (error) {
      refused.push(`${block}: ${messageOf(error)}`);
    }
  }
  if (refused.length > 0) throw new Error(`Cannot bring all memory online: ${refused.join("; ")}`);
}

/** What the kernel works with, and what of it can be had without taking it from anybody: `MemTotal` and `MemAvailable`, bytes. */
export async function memoryOf(proc: string): Promise<{ readonly total: number; readonly available: number }> {
  const text = await readFile(join(proc, "meminfo"), "utf8");
  const bytes = (field: string) => Number(new RegExp(`^${field}: +(\\d+) kB$`, "m").exec(text)?.[1] ?? 0) * 1024;
  return { total: bytes("MemTotal"), available: bytes("MemAvailable") };
}
