import { constants } from "node:fs";
import { type FileHandle, open, rm } from "node:fs/promises";
import { text } from "node:stream/consumers";
import { errnoOf, messageOf, onceAborted, TapvisorError, throwIfAborted, toError } from "tapvisor/plugin";
import { dyingWithThisProcess, killTree, spawnProcess } from "./process.ts";

/**
 * The file of a template's memory, open for reading and writing as QEMU will have it.
 *
 * @throws INVALID_INPUT when it cannot be the memory of a VM of this size: one that is too short would kill QEMU when the guest gets there.
 */
export async function openMemoryFile(file: string, memoryBytes: number): Promise<FileHandle> {
  const wanted = `a regular file of ${memoryBytes} bytes`;
  const handle = await open(file, "r+").catch((cause: unknown) => {
    throw badTemplate("memory.file", file, wanted, messageOf(cause), cause);
  });
  try {
    const found = await handle.stat();
    if (!found.isFile()) throw badTemplate("memory.file", file, wanted, "it is no regular file");
    if (found.size !== memoryBytes) throw badTemplate("memory.file", file, wanted, `it has ${found.size}`);
    return handle;
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** The file of a saved state, for QEMU to inherit. @throws INVALID_INPUT when it is no regular file. */
export async function openState(file: string): Promise<FileHandle> {
  // A FIFO would be waited for: this opens it at once, and changes nothing for a file.
  const handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK).catch((cause: unknown) => {
    throw badTemplate("memory.state", file, "a file that can be read", messageOf(cause), cause);
  });
  if ((await handle.stat()).isFile()) return handle;
  await handle.close();
  throw badTemplate("memory.state", file, "a file that can be read", "it is no regular file");
}

/**
 * Copies a template's memory into a new file, mode 0600. What nobody has written takes no room there: holes stay holes, and a page of zeros becomes
 * one. 130 MB take 70 ms from tmpfs to tmpfs. When this fails the new file is gone.
 *
 * @throws INVALID_INPUT for a `copy` that is there already, STATE_IO when it cannot be written (ENOSPC for a full tmpfs), ABORTED.
 */
export async function copyMemory(from: FileHandle, copy: string, signal: AbortSignal): Promise<void> {
  throwIfAborted(signal, "copying a template's memory");
  const to = await open(copy, "wx", 0o600).catch((cause: unknown) => {
    if (errnoOf(toError(cause)) !== "EEXIST") throw copyFailed(copy, errnoOf(toError(cause)), cause);
    throw badTemplate("memory.copy", copy, "a path that is not there", "it is there", cause);
  });
  try {
    await runCp(from, to, copy, signal);
    const [{ size }, { size: copied }] = await Promise.all([from.stat(), to.stat()]);
    if (copied !== size) throw copyFailed(copy, "EIO", new Error(`${copied} of ${size} bytes have been copied`));
  } catch (error) {
    await rm(copy, { force: true });
    throw error;
  } finally {
    await to.close();
  }
}

/** By descriptors: nothing that is exchanged meanwhile is read or written, and a cp whose file has been removed does not bring it back. */
async function runCp(from: FileHandle, to: FileHandle, copy: string, signal: AbortSignal): Promise<void> {
  const argv = ["cp", "--sparse=always", "--", "/proc/self/fd/3", "/proc/self/fd/4"];
  let saying = Promise.resolve("");
  const { exited, identity } = await spawnProcess(
    dyingWithThisProcess(argv),
    ["ignore", "ignore", "pipe", from.fd, to.fd],
    ({ stderr }) => {
      if (stderr) saying = text(stderr);
    },
  );
  const over = new AbortController();
  await Promise.race([exited, onceAborted(AbortSignal.any([signal, over.signal]))]).finally(() => over.abort());
  if (signal.aborted && identity) await killTree(identity);
  const [{ exitCode }, said] = await Promise.all([exited, saying]); // its last words may come after its end
  throwIfAborted(signal, "copying a template's memory");
  if (exitCode !== 0) throw copyFailed(copy, errnoIn(said), new Error(said.trim() || `cp has ended with ${exitCode}`));
}

/** cp says the kernel's words alone; in English, as its environment has no other language. */
function errnoIn(said: string): string {
  if (/No space left on device/.test(said)) return "ENOSPC";
  return /Disk quota exceeded/.test(said) ? "EDQUOT" : "EIO";
}

function copyFailed(file: string, errno: string, cause: unknown): TapvisorError {
  return new TapvisorError("STATE_IO", `Cannot copy a template's memory to "${file}": ${messageOf(cause)}`, {
    data: { file, operation: "copy", errno },
    hint: "look at the free space and the permissions of that directory",
    cause,
  });
}

function badTemplate(path: string, value: string, wanted: string, found: string, cause?: unknown): TapvisorError {
  return new TapvisorError("INVALID_INPUT", `Cannot use ${path} "${value}": ${found}, wanted ${wanted}`, {
    data: { path, value, wanted },
    cause,
  });
}
