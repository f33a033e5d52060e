import { constants } from "node:fs";
import { type FileHandle, mkdir, open } from "node:fs/promises";
import { join } from "node:path";
import { checkOpenPath, type GuestPaths } from "../guest-paths.ts";
import { StatusError } from "../status.ts";

const DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;

/** The directory that holds a file, open, and how the file is reached through it. */
export interface Parent extends AsyncDisposable {
  at(name: string): string;
  readonly name: string;
}

/**
 * Opens the directory of a file below one of the open directories, step by step and without following a link: a container may change what lies on the way
 * while it is gone. What is missing is made, when `make` says with which permissions.
 * @throws INVALID_ARGUMENT for a path elsewhere, FAILED_PRECONDITION for a link or something else that is no directory.
 */
export async function openParent(paths: GuestPaths, path: string, make?: number): Promise<Parent> {
  checkOpenPath(paths, "path", path);
  const root = paths.open.find((each) => path.startsWith(`${each}/`)) ?? "";
  const steps = path.slice(root.length + 1).split("/");
  const name = steps.pop() ?? "";
  if (make !== undefined) await mkdir(root, { recursive: true });
  let directory = await open(root, DIRECTORY);
  for (const step of steps) {
    const next = `${through(directory)}/${step}`;
    try {
      const inner = await enter(next, path, make);
      await directory.close();
      directory = inner;
    } catch (error) {
      await directory.close();
      throw error;
    }
  }
  return { name, at: (file) => join(through(directory), file), [Symbol.asyncDispose]: () => directory.close() };
}

async function enter(directory: string, path: string, make: number | undefined): Promise<FileHandle> {
  try {
    if (make === undefined) return await open(directory, DIRECTORY);
    const isNew = await mkdir(directory, { mode: make }).then(
      () => true,
      (error: NodeJS.ErrnoException) => (error.code === "EEXIST" ? false : Promise.reject(error)),
    );
    const handle = await open(directory, DIRECTORY);
    if (isNew) await handle.chmod(make); // whatever the agent's umask is
    return handle;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "ELOOP" && code !== "ENOTDIR") throw error;
    throw new StatusError(
      "FAILED_PRECONDITION",
      `Cannot reach ${JSON.stringify(path)}: a link or a file is on the way, wanted directories`,
    );
  }
}

/** What is looked up by this path begins at that very directory, wherever it has been moved to. */
function through({ fd }: FileHandle): string {
  return `/proc/self/fd/${fd}`;
}
