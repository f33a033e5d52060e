import type { GuestStorage } from "../../contracts/agent.ts";
import type { ShareIntent } from "../../contracts/hypervisor.ts";
import { agentError } from "./agent-error.ts";

const DRIVERS: readonly string[] = ["virtio-fs", "9p", "blk", "scsi", "overlayfs", "ephemeral", "local"];

export type Shares = ReadonlyMap<string, ShareIntent>;

/** Checks that the guest could mount `storages` in order on top of `mounted`. @throws AGENT_FAILED where a real agent's mount would fail. */
export function checkMounts(shares: Shares, mounted: readonly GuestStorage[], storages: readonly GuestStorage[]): void {
  for (const [index, storage] of storages.entries()) {
    const fail = (reason: string) => agentError("CreateContainer", "INTERNAL", `cannot mount ${storage.mountPoint}: ${reason}`);
    if (!DRIVERS.includes(storage.driver)) throw fail(`no driver "${storage.driver}"`);
    if (!storage.mountPoint.startsWith("/")) throw fail("the mount point is not absolute");
    if (storage.driver === "virtio-fs" && !shares.has(storage.source)) throw fail(`no share has the tag "${storage.source}"`);
    const below = [...mounted, ...storages.slice(0, index)];
    for (const lower of lowerDirectories(storage)) {
      if (!existsInGuest(shares, below, lower)) throw fail(`the lower directory ${lower} does not exist`);
    }
  }
}

/** Whether a path is on something mounted; in a share, whether its entry is there. */
export function existsInGuest(shares: Shares, mounted: readonly GuestStorage[], path: string): boolean {
  const covering = mounted
    .filter(({ mountPoint }) => path === mountPoint || path.startsWith(`${mountPoint}/`))
    .sort((a, b) => b.mountPoint.length - a.mountPoint.length)[0];
  if (!covering) return false;
  const [entry = ""] = path.slice(covering.mountPoint.length + 1).split("/");
  const share = covering.driver === "virtio-fs" ? shares.get(covering.source) : undefined;
  return entry === "" || !share || share.entries.some(({ name }) => name === entry);
}

function lowerDirectories({ options }: GuestStorage): readonly string[] {
  const value = options.find((option) => option.startsWith("lowerdir="))?.slice("lowerdir=".length);
  return value === undefined ? [] : value.split(":");
}
