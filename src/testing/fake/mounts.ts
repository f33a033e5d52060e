import type { GuestStorage } from "../../contracts/agent.ts";
import type { GuestDisk, ShareIntent, VmSize } from "../../contracts/hypervisor.ts";
import { agentError } from "./agent-error.ts";
import { type Disks, diskAt } from "./disks.ts";

const DRIVERS: readonly string[] = ["virtio-fs", "9p", "blk", "scsi", "overlayfs", "ephemeral", "local"];

export type Shares = ReadonlyMap<string, ShareIntent>;

/** What is plugged into the VM that a guest runs in. */
export interface Plugged {
  readonly shares: Shares;
  readonly disks: Disks;
  readonly size: VmSize;
}

/** Checks that the guest could mount `storages` in order on top of `mounted`. @throws AGENT_FAILED where a real agent's mount would fail. */
export function checkMounts(plugged: Plugged, mounted: readonly GuestStorage[], storages: readonly GuestStorage[]): void {
  const { shares, disks } = plugged;
  for (const [index, storage] of storages.entries()) {
    const fail = (reason: string, status = "INTERNAL") =>
      agentError("CreateContainer", status, `cannot mount ${storage.mountPoint}: ${reason}`);
    if (!DRIVERS.includes(storage.driver)) throw fail(`no driver "${storage.driver}"`);
    if (!storage.mountPoint.startsWith("/")) throw fail("the mount point is not absolute");
    if (storage.driver === "virtio-fs" && !shares.has(storage.source)) throw fail(`no share has the tag "${storage.source}"`);
    const disk = diskOf(storage);
    if (disk && !/^[a-z][a-z0-9]*$/.test(storage.fstype)) throw fail(`"${storage.fstype}" is no file system`);
    if (disk && !diskAt(disks, disk)) throw fail(`no ${disk.driver} disk at ${disk.address} appears`, "DEADLINE_EXCEEDED");
    const below = [...mounted, ...storages.slice(0, index)];
    for (const lower of lowerDirectories(storage)) {
      if (!existsInGuest(plugged, below, lower)) throw fail(`the lower directory ${lower} does not exist`);
    }
  }
}

/** Whether a path is on something mounted; in a share, whether its entry is there. */
export function existsInGuest({ shares }: Plugged, mounted: readonly GuestStorage[], path: string): boolean {
  const covering = mounted
    .filter(({ mountPoint }) => path === mountPoint || path.startsWith(`${mountPoint}/`))
    .sort((a, b) => b.mountPoint.length - a.mountPoint.length)[0];
  if (!covering) return false;
  const [entry = ""] = path.slice(covering.mountPoint.length + 1).split("/");
  const share = covering.driver === "virtio-fs" ? shares.get(covering.source) : undefined;
  return entry === "" || !share || share.entries.some(({ name }) => name === entry);
}

/** The disk that is mounted. */
export function diskOf({ driver, source }: GuestStorage): GuestDisk | undefined {
  return driver === "blk" || driver === "scsi" ? { driver, address: source } : undefined;
}

function lowerDirectories({ options }: GuestStorage): readonly string[] {
  const value = options.find((option) => option.startsWith("lowerdir="))?.slice("lowerdir=".length);
  return value === undefined ? [] : value.split(":");
}
