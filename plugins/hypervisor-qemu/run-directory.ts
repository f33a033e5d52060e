import { constants } from "node:fs";
import { lstat, open } from "node:fs/promises";
import { errnoOf, TapvisorError } from "tapvisor/plugin";
import type { QemuUser } from "./user.ts";

/**
 * The sockets in a VM's run directory are as good as root's rights to whoever may connect: QEMU does what its control socket says.
 *
 * @throws INVALID_INPUT when the directory is not there, is a link, or is open to others.
 */
export async function checkRunDirectory(path: string): Promise<void> {
  const wanted = "a directory of this user's own, mode 0700";
  const found = await lstat(path).catch((error: unknown) => errnoOf(error));
  const why = typeof found === "string" ? found : whyNot(found);
  if (why === undefined) return;
  throw new TapvisorError("INVALID_INPUT", `Cannot run a VM in "${path}": ${why}, wanted ${wanted}`, {
    data: { path: "runDirectory", value: path, wanted },
  });
}

/** What a directory of root's is when a QEMU with a user of its own works in it: the group may pass, and neither list nor change anything. */
const PASSABLE = 0o710;

/** Lets the user's group pass through a directory of this process's. */
export async function openToGroup(path: string, { gid }: QemuUser): Promise<void> {
  await using directory = await open(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  await directory.chmod(PASSABLE); // the mode from first to last: by it a release after a crash knows that there is something to take back
  await directory.chown(process.geteuid?.() ?? 0, gid);
}

/** Takes `openToGroup` back. What is not there, or has another mode, is success. */
export async function closeToGroup(path: string): Promise<void> {
  const found = await open(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW).catch(() => undefined);
  if (!found) return;
  await using directory = found;
  const { mode } = await directory.stat();
  if ((mode & 0o777) !== PASSABLE) return;
  await directory.chown(process.geteuid?.() ?? 0, process.getegid?.() ?? 0);
  await directory.chmod(0o700);
}

function whyNot(found: { isDirectory(): boolean; readonly uid: number; readonly mode: number }): string | undefined {
  if (!found.isDirectory()) return "it is no directory";
  if (found.uid !== process.geteuid?.()) return `it belongs to user ${found.uid}`;
  if ((found.mode & 0o077) === 0) return undefined;
  return `its mode is 0${(found.mode & 0o777).toString(8)}`;
}
