import { type FileHandle, open, opendir, rmdir, unlink } from "node:fs/promises";
import { errnoOf } from "tapvisor/plugin";
import type { RemoveFileRequest } from "tapvisor/protocol";
import type { Agent } from "../agent.ts";
import type { RpcContext } from "../unary.ts";
import { FileError } from "./file-error.ts";
import { DIRECTORY_ONLY, pathOf } from "./flags.ts";
import { existing, named, withPlace } from "./place.ts";

/** Each level is a descriptor. */
const MAX_DEPTH = 256;

/** Removes a file, a link itself, or a directory, with all that is in it when asked; never what is mounted in it. */
export async function removeFile(agent: Agent, { place, recursive }: RemoveFileRequest, context: RpcContext) {
  return withPlace(agent, place, { follow: false, change: true }, context.signal, async ({ found, signal }) => {
    const path = pathOf(found.parent, named(found));
    const stats = existing(found, "stats");
    if (!stats.isDirectory()) await unlink(path);
    else {
      if ((await found.parent.stat()).dev !== stats.dev) throw mounted(); // before anything in it is lost
      if (recursive) await empty(existing(found, "entry"), stats.dev, signal);
      await rmdir(path);
    }
    return {};
  });
}

async function empty(directory: FileHandle, dev: number, signal: AbortSignal, depth = 0): Promise<void> {
  if (depth >= MAX_DEPTH) throw new FileError("ENAMETOOLONG", `Cannot remove the directory: it is deeper than ${MAX_DEPTH} directories`);
  // A name is bytes and need not be UTF-8; what is said of the encoding's type is wrong.
  const entries = await opendir(pathOf(directory), { encoding: "buffer" as BufferEncoding, bufferSize: 256 });
  for await (const { name } of entries) {
    signal.throwIfAborted();
    const path = Buffer.concat([Buffer.from(pathOf(directory, "")), name as unknown as Buffer]);
    if (await unlinked(path)) continue;
    const inner = await open(path, DIRECTORY_ONLY);
    try {
      if ((await inner.stat()).dev !== dev) throw mounted();
      await empty(inner, dev, signal, depth + 1);
    } finally {
      await inner.close();
    }
    await rmdir(path);
  }
}

/** Whether it is gone; otherwise it is a directory. */
async function unlinked(path: Buffer): Promise<boolean> {
  try {
    await unlink(path);
    return true;
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return true;
    if (errnoOf(error) === "EISDIR") return false;
    throw error;
  }
}

function mounted(): FileError {
  return new FileError("EBUSY", "Cannot remove the directory: something is mounted there");
}
