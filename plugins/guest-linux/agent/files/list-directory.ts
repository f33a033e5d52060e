import { type FileHandle, lstat, opendir } from "node:fs/promises";
import { errnoOf } from "tapvisor/plugin";
import type { ListDirectoryRequest, ListDirectoryResponse } from "tapvisor/protocol";
import type { Agent } from "../agent.ts";
import type { RpcContext } from "../unary.ts";
import { FileError } from "./file-error.ts";
import { pathOf } from "./flags.ts";
import { existing, withPlace } from "./place.ts";
import { statMessage } from "./stat-file.ts";

/** A page: with the longest names it is still smaller than the largest answer. */
const MOST_ENTRIES = 1000;
/** Their names are held in memory while a page is made. */
const LARGEST_DIRECTORY = 200_000;

/** The names of a directory from one on, sorted: what has come or gone between two pages does not move the others. */
export async function listDirectory(
  agent: Agent,
  { place, after, limit }: ListDirectoryRequest,
  context: RpcContext,
): Promise<ListDirectoryResponse> {
  return withPlace(agent, place, { follow: true }, context.signal, async ({ found, signal }) => {
    const directory = existing(found, "entry");
    if (!found.stats?.isDirectory()) throw new FileError("ENOTDIR", "Cannot list what is no directory");
    const names = (await namesOf(directory, signal)).filter((name) => name > after).sort();
    const page = names.slice(0, Math.min(limit || MOST_ENTRIES, MOST_ENTRIES));
    const entries = [];
    for (const name of page) {
      signal.throwIfAborted();
      const stats = await lstat(pathOf(directory, name)).catch(unlessGone);
      if (stats) entries.push(statMessage(name, stats));
    }
    return { entries, more: page.length < names.length };
  });
}

/** The names that are UTF-8: one that is not cannot be asked for. */
async function namesOf(directory: FileHandle, signal: AbortSignal): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of await opendir(pathOf(directory), { bufferSize: 256 })) {
    if (name.includes("\ufffd")) continue;
    names.push(name);
    signal.throwIfAborted();
    if (names.length > LARGEST_DIRECTORY)
      throw new FileError("EFBIG", `Cannot list the directory: it has more than ${LARGEST_DIRECTORY} entries`);
  }
  return names;
}

function unlessGone(error: unknown): undefined {
  if (errnoOf(error) !== "ENOENT") throw error;
}
