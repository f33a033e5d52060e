import { createHash } from "node:crypto";
import { chmod, copyFile, mkdir, readFile, rm, stat, statfs, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Call, formatBytes, TapvisorError } from "tapvisor/plugin";
import { addEntry, findEntry, newWorkDirectory } from "./cache.ts";
import { cpio } from "./cpio.ts";
import { filesIn, type GuestFiles, sealEntry } from "./entry.ts";
import { EROFS_OPTIONS, makeErofs } from "./erofs.ts";
import { sourcesOf, type Tree, writeTree } from "./tree.ts";

/** All that a guest is made of. */
export interface GuestPlan {
  readonly kernel: string;
  readonly initrd: Tree;
  readonly image: Tree;
}

/**
 * Builds the guest's files in the cache under a name made from their content, or finds that they are there. Safe beside other processes
 * that build the same; leaves nothing when it fails.
 */
export async function buildGuest(cache: string, plan: GuestPlan, call: Call): Promise<{ content: string; files: GuestFiles }> {
  const work = await newWorkDirectory(cache);
  try {
    await checkSpace(work, plan);
    const built = filesIn(join(work, "entry"));
    const tree = join(work, "tree");
    await mkdir(built.directory);
    await mkdir(tree);
    const initrd = await cpio(plan.initrd);
    await writeFile(built.initrd, initrd);
    await copyFile(plan.kernel, built.kernel);
    const content = createHash("sha256")
      .update(JSON.stringify({ options: EROFS_OPTIONS, image: await writeTree(plan.image, tree) }))
      .update(initrd)
      .update(await readFile(built.kernel))
      .digest("hex");
    const known = await findEntry(cache, content);
    if (known) return { content, files: known };
    await makeErofs(built.image, tree, call);
    await chmod(built.initrd, 0o444);
    await chmod(built.kernel, 0o444);
    await sealEntry(built);
    return { content, files: await addEntry(cache, content, built) };
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** @throws HOST_LIMIT before a disk is filled: the tree and the image of it are there at once for a moment. */
async function checkSpace(directory: string, plan: GuestPlan): Promise<void> {
  const sizes = await Promise.all(sourcesOf(plan.image).map(async (path) => (await stat(path)).size));
  const wanted = 2 * sizes.reduce((sum, size) => sum + size, 32 << 20);
  const { bavail, bsize } = await statfs(directory);
  const available = bavail * bsize;
  if (available >= wanted) return;
  throw new TapvisorError(
    "HOST_LIMIT",
    `Cannot build the guest in ${directory}: ${formatBytes(available)} free, wanted ${formatBytes(wanted)}`,
    {
      data: { what: `free space in ${directory}`, wanted, available },
      hint: "free some space, or move the cache directory to another disk",
    },
  );
}
