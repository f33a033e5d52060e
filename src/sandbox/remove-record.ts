import { rm } from "node:fs/promises";
import type { Journal } from "../engine/journal.ts";
import { ownDisksOf } from "../snapshot/files.ts";

/** The end of a sandbox that holds nothing any more: the copies of disks that are its own go, and its record last. */
export async function removeRecord(root: string, journal: Journal): Promise<void> {
  await rm(ownDisksOf(root, journal.record.id), { recursive: true, force: true });
  await journal.remove();
}
