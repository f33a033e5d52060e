import { lstat } from "node:fs/promises";
import { errnoOf, TapvisorError } from "tapvisor/plugin";

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

function whyNot(found: { isDirectory(): boolean; readonly uid: number; readonly mode: number }): string | undefined {
  if (!found.isDirectory()) return "it is no directory";
  if (found.uid !== process.geteuid?.()) return `it belongs to user ${found.uid}`;
  if ((found.mode & 0o077) === 0) return undefined;
  return `its mode is 0${(found.mode & 0o777).toString(8)}`;
}
