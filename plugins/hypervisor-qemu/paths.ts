import { join } from "node:path";
import { TapvisorError } from "tapvisor/plugin";

/** The kernel's limit for the path of a unix socket: 108 bytes with the final NUL. */
export const SOCKET_PATH_BYTES = 107;

/** The files of one VM in its run directory. */
export interface VmPaths {
  readonly qmp: string;
  readonly agent: string;
  readonly console: string;
  readonly stderr: string;
  /** Where a template's state arrives while it is saved. */
  readonly state: string;
}

/** Unchecked, for a release has to work whatever the path: what starts a VM checks it. */
export function vmPaths(runDirectory: string): VmPaths {
  return {
    qmp: join(runDirectory, "qmp.sock"),
    agent: join(runDirectory, "agent.sock"),
    console: join(runDirectory, "console.log"),
    stderr: join(runDirectory, "qemu.log"),
    state: join(runDirectory, "state.sock"),
  };
}

/** The files of one share's server. */
export interface SharePaths {
  readonly socket: string;
  /** Where the entries are mounted, seen by the server alone; empty on the host. */
  readonly stage: string;
  readonly log: string;
}

/** @throws INVALID_INPUT when the directory is so long that a socket in it cannot be reached. */
export function sharePaths(directory: string): SharePaths {
  return { socket: checkSocketPath(join(directory, "fs.sock")), stage: join(directory, "stage"), log: join(directory, "virtiofsd.log") };
}

/** The path, when it can be a unix socket's. @throws INVALID_INPUT when it is too long. */
export function checkSocketPath(path: string): string {
  const bytes = Buffer.byteLength(path);
  if (bytes <= SOCKET_PATH_BYTES) return path;
  const wanted = `at most ${SOCKET_PATH_BYTES} bytes`;
  throw new TapvisorError("INVALID_INPUT", `Cannot use "${path}" as a unix socket: the path has ${bytes} bytes, wanted ${wanted}`, {
    data: { path: "runDirectory", value: path, wanted },
    hint: "choose a shorter root directory for the engine",
  });
}
