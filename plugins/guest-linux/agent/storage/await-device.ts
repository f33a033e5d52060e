import { access, readdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { withDeadline } from "tapvisor/plugin";
import type { GuestPaths } from "../guest-paths.ts";
import { watchUntil } from "../watch-until.ts";

/** How long a device that was plugged in may take to appear: Kata's own limit. */
export const DEVICE_TIMEOUT_MS = 3000;

const LOOK_EVERY_MS = 10;

/** Waits for a node in /dev. @throws TIMEOUT after `DEVICE_TIMEOUT_MS`, ABORTED. */
export async function awaitNode(path: string, signal: AbortSignal): Promise<void> {
  await withDeadline({ what: `the device ${path}`, timeoutMs: DEVICE_TIMEOUT_MS, signal }, (ended) =>
    watchUntil(dirname(path), async () => (await exists(path)) || undefined, ended),
  );
}

/** The virtio-fs devices that are bound now, as one comparable text; a kernel before 6.9 does not show their tags. */
export async function virtioFsDevices({ sys }: GuestPaths): Promise<string> {
  const entries = await readdir(join(sys, "bus/virtio/drivers/virtiofs")).catch(() => []);
  return entries.filter((entry) => /^virtio\d+$/.test(entry)).join(" ");
}

/**
 * Waits until the virtio-fs devices are others than `before`, at most `limitMs`. The kernel announces a device on a netlink socket, which Node has
 * not, and sysfs raises no inotify events; one look is one `getdents`, a failed attempt to mount is a process.
 */
export async function awaitVirtioFsChange(paths: GuestPaths, before: string, limitMs: number, signal: AbortSignal): Promise<void> {
  const deadline = performance.now() + limitMs;
  while (performance.now() < deadline && (await virtioFsDevices(paths)) === before) await delay(LOOK_EVERY_MS, undefined, { signal });
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
