import { access, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { withDeadline } from "tapvisor/plugin";
import type { GuestPaths } from "../guest-paths.ts";
import type { Modules } from "../modules.ts";
import { watchUntil } from "../watch-until.ts";
import { addressOf, type Disk } from "./disk.ts";
import { type BlockDevice, list, locateDisk } from "./locate.ts";

/** How long a disk that was plugged in may take to appear, ms: 0.1 s on an idle machine, and ten times that on a busy one that emulates. */
const APPEAR_MS = 10_000;

/** What is needed to find a disk. */
export interface DiskWorld {
  readonly paths: GuestPaths;
  readonly modules: Modules;
}

/** A disk that has its node in /dev. */
export interface FoundDisk extends BlockDevice {
  readonly node: string;
}

/** Waits until the guest has the disk and a node for it. @throws TIMEOUT after 10 s. */
export function awaitDisk({ paths, modules }: DiskWorld, disk: Disk, signal: AbortSignal): Promise<FoundDisk> {
  const what = `the ${disk.driver} disk ${addressOf(disk)} in the guest`;
  return withDeadline({ what, timeoutMs: APPEAR_MS, signal }, async (ended) => {
    if (disk.driver === "scsi") await modules.disks();
    let looked = false;
    const look = async () => {
      const found = await lookFor(paths, disk);
      if (found || looked) return found;
      looked = true;
      await lookOnBus(paths, disk);
      return lookFor(paths, disk);
    };
    // /sys raises no events, but the last thing that the kernel makes for a disk is its node.
    return watchUntil(paths.dev, look, ended);
  });
}

async function lookFor({ sys, dev }: GuestPaths, disk: Disk): Promise<FoundDisk | undefined> {
  const found = locateDisk(sys, disk);
  if (!found) return undefined;
  const node = join(dev, found.name);
  return access(node).then(
    () => ({ ...found, node }),
    () => undefined,
  );
}

/** A SCSI disk that was released and is still plugged in comes back only when it is looked for. */
async function lookOnBus({ sys }: GuestPaths, disk: Disk): Promise<void> {
  if (disk.driver !== "scsi") return;
  const hosts = join(sys, "class/scsi_host");
  for (const host of list(hosts)) await writeFile(join(hosts, host, "scan"), `0 ${disk.id} ${disk.lun}`);
}
