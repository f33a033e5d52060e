import { constants } from "node:fs";
import { open, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { StatusError } from "../status.ts";
import type { DiskWorld } from "./await-disk.ts";
import { addressOf, type Disk } from "./disk.ts";
import { list, locateDisk } from "./locate.ts";

const { O_RDONLY, O_EXCL } = constants;

/**
 * Has the kernel let go of a disk that is to be unplugged: what was written to it is on it then. One that is not there is success.
 * @throws FAILED_PRECONDITION when it is in use, mounted somewhere say; nothing has changed then.
 */
export async function releaseDisk({ paths, modules }: DiskWorld, disk: Disk): Promise<void> {
  if (disk.driver === "scsi") await modules.disks();
  const found = locateDisk(paths.sys, disk);
  if (!found) return;
  const directory = join(paths.sys, "class/block", found.name);
  const [holder] = list(join(directory, "holders"));
  if (holder !== undefined) throw inUse(disk, `by ${holder}`);
  await flush(join(paths.dev, found.name), disk);
  if (disk.driver === "scsi") await writeFile(join(directory, "device/delete"), "1").catch(unlessGone);
}

/** Opening a block device for oneself alone fails while it or a part of it is mounted, in whatever namespace, or has another such user. */
async function flush(node: string, disk: Disk): Promise<void> {
  try {
    const file = await open(node, O_RDONLY | O_EXCL);
    await file.sync().finally(() => file.close());
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EBUSY") throw inUse(disk, "mounted or held otherwise");
    unlessGone(error);
  }
}

function unlessGone(error: unknown): void {
  if (!["ENOENT", "ENODEV", "ENXIO"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
}

function inUse(disk: Disk, why: string): StatusError {
  return new StatusError("FAILED_PRECONDITION", `Cannot release the ${disk.driver} disk ${addressOf(disk)}: it is in use, ${why}`);
}
