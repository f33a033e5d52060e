import type { Stats } from "node:fs";
import { readlink } from "node:fs/promises";
import type { FileStatMessage, FileTypeName, StatFileRequest } from "tapvisor/protocol";
import type { Agent } from "../agent.ts";
import type { RpcContext } from "../unary.ts";
import { pathOf } from "./flags.ts";
import { existing, withPlace } from "./place.ts";

export async function statFile(agent: Agent, { place, follow }: StatFileRequest, { signal }: RpcContext): Promise<FileStatMessage> {
  return withPlace(agent, place, { follow }, signal, async ({ found }) => {
    const stats = existing(found, "stats");
    const target = stats.isSymbolicLink() ? await readlink(pathOf(found.parent, found.name)) : "";
    return statMessage(found.name, stats, target);
  });
}

export function statMessage(name: string, stats: Stats, target = ""): FileStatMessage {
  return {
    name,
    type: typeOf(stats),
    size: String(stats.size),
    mode: stats.mode & 0o7777,
    uid: stats.uid,
    gid: stats.gid,
    modified_ms: String(Math.trunc(stats.mtimeMs)),
    target,
    identity: identityOf(stats),
    links: String(stats.nlink),
  };
}

export function identityOf({ dev, ino }: Stats): string {
  return `${dev}:${ino}`;
}

function typeOf(stats: Stats): FileTypeName {
  if (stats.isFile()) return "FILE";
  if (stats.isDirectory()) return "DIRECTORY";
  if (stats.isSymbolicLink()) return "LINK";
  if (stats.isFIFO()) return "FIFO";
  if (stats.isSocket()) return "SOCKET";
  return stats.isBlockDevice() ? "BLOCK" : "CHARACTER";
}
