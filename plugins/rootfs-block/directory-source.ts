import { opendir, readFile, realpath, stat } from "node:fs/promises";
import { resolve, sep } from "node:path";
import { isTapvisorError, type TapvisorError } from "tapvisor/plugin";
import { type Reason, systemReason, unusable } from "./errors.ts";

export const WANTED = "a readable directory apart from the engine's own and with nothing mounted below it";

export function unusableDirectory(path: string, reason: Reason): TapvisorError {
  return unusable("rootfs", path, WANTED, reason);
}

/** The real path of a directory that can be copied. @throws INVALID_INPUT. */
export async function lookAtDirectory(path: string, stateDirectory: string): Promise<string> {
  const absolute = resolve(path);
  try {
    const directory = await realpath(absolute);
    if (!(await stat(directory)).isDirectory()) throw unusableDirectory(path, { found: `${directory} is not a directory` });
    await (await opendir(directory)).close();
    await refuseDangerous(path, directory, stateDirectory);
    return directory;
  } catch (error) {
    if (isTapvisorError(error)) throw error;
    throw unusableDirectory(path, systemReason(absolute, error));
  }
}

/** The host's own root has every secret of the host, the state has what controls the sandboxes, and a mounted /proc has no end. */
async function refuseDangerous(path: string, directory: string, stateDirectory: string): Promise<void> {
  if (directory === sep) throw unusableDirectory(path, { found: "it is the host's own root", hint: "make a directory for the container" });
  const state = await realpath(stateDirectory).catch(() => resolve(stateDirectory));
  if (isWithin(state, directory) || isWithin(directory, state)) {
    throw unusableDirectory(path, { found: `${directory} shares files with the engine's own state in ${state}` });
  }
  const mount = (await mountPoints()).find((point) => point !== directory && isWithin(point, directory));
  if (mount !== undefined) throw unusableDirectory(path, { found: `${mount} is mounted below it`, hint: `unmount ${mount} first` });
}

/** proc(5): the fifth field of a line is the mount point, with blanks as `\040`. */
async function mountPoints(): Promise<readonly string[]> {
  const lines = (await readFile("/proc/self/mountinfo", "utf8")).trim().split("\n");
  return lines.map((line) =>
    (line.split(" ")[4] ?? "").replace(/\\(\d{3})/g, (_, code: string) => String.fromCharCode(Number.parseInt(code, 8))),
  );
}

function isWithin(path: string, directory: string): boolean {
  return path === directory || path.startsWith(`${directory}${sep}`);
}
