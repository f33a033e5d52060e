import { constants } from "node:fs";
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import type { CopyFileRequest } from "tapvisor/protocol";
import type { Agent } from "../agent.ts";
import { StatusError } from "../status.ts";
import { openParent, type Parent } from "./open-parent.ts";

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_WRONLY } = constants;
const TYPE_BITS = 0o170000;
const REGULAR = 0o100000;
const PERMISSIONS = 0o7777;
/** What a part is written to until the last one has come, as Kata's agent calls it. */
const SUFFIX = ".tmp";

/**
 * Appends a part to a file that is being copied; with the last one it gets its owner, its permissions and its name. A part at 0 begins anew.
 * @throws INVALID_ARGUMENT, FAILED_PRECONDITION for a part that is not the next one; what had come by then goes.
 */
export async function copyFile(agent: Agent, request: CopyFileRequest): Promise<void> {
  const { path, data } = request;
  const [size, offset] = [Number(request.file_size), Number(request.offset)];
  const want = (holds: boolean, field: string, value: unknown, wanted: string) => {
    if (!holds) throw new StatusError("INVALID_ARGUMENT", `Cannot use ${field} ${value}: wanted ${wanted}`);
  };
  want(Number.isSafeInteger(size) && size >= 0, "file_size", size, "a number of bytes");
  want(offset >= 0 && offset + data.length <= size, "offset", offset, `at most ${size - data.length}`);
  const type = request.file_mode & TYPE_BITS;
  want(type === 0 || type === REGULAR, "file_mode", request.file_mode, "that of a regular file");
  await using parent = await openParent(agent.paths, path, request.dir_mode & PERMISSIONS);
  const temporary = parent.at(`${parent.name}${SUFFIX}`);
  try {
    await using file = await (offset === 0 ? begin(temporary) : goOn(temporary, offset));
    agent.copies.add(path);
    await writeAll(file, data);
    if (offset + data.length < size) return;
    await file.chown(request.uid >>> 0, request.gid >>> 0);
    await file.chmod(request.file_mode & PERMISSIONS); // after the owner, whose change takes bits away
    await rename(temporary, parent.at(parent.name));
    agent.copies.delete(path);
  } catch (error) {
    await rm(temporary, { force: true });
    agent.copies.delete(path);
    throw refusal(error, path);
  }
}

/** Removes what has come of copies that were never finished; of what cannot be reached nothing can be left where it was. */
export async function dropCopies({ paths, copies }: Agent): Promise<void> {
  for (const path of copies) {
    copies.delete(path);
    const parent: Parent | undefined = await openParent(paths, path).catch(() => undefined);
    if (!parent) continue;
    await using held = parent;
    await rm(held.at(`${held.name}${SUFFIX}`), { force: true });
  }
}

async function begin(temporary: string): Promise<FileHandle> {
  await rm(temporary, { force: true });
  return open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
}

/** A container may have put something else there: a pipe would be waited for, a link followed. */
async function goOn(temporary: string, offset: number): Promise<FileHandle> {
  const file = await open(temporary, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | constants.O_APPEND);
  try {
    const { size } = await file.stat();
    if (size === offset) return file;
    throw new StatusError("FAILED_PRECONDITION", `Cannot go on at ${offset}: ${size} bytes of the file have come`);
  } catch (error) {
    await file.close();
    throw error;
  }
}

async function writeAll(file: FileHandle, data: Uint8Array): Promise<void> {
  for (let rest = data; rest.length > 0; ) rest = rest.subarray((await file.write(rest)).bytesWritten);
}

function refusal(error: unknown, path: string): unknown {
  const { code } = error as NodeJS.ErrnoException;
  const refuse = (why: string) =>
    new StatusError("FAILED_PRECONDITION", `Cannot write ${JSON.stringify(path)}: ${why}`, undefined, { cause: error });
  if (code === "ENOENT") return refuse("its first part has not come");
  if (code === "ELOOP" || code === "ENXIO") return refuse("its parts are no file any more");
  if (code === "EISDIR" || code === "ENOTEMPTY" || code === "EEXIST") return refuse("there is a directory of that name");
  if (code === "ENOSPC") return new StatusError("RESOURCE_EXHAUSTED", `Cannot write ${JSON.stringify(path)}: no space is left`);
  return error;
}
