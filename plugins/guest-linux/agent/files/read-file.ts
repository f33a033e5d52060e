import { open } from "node:fs/promises";
import type { ReadFileRequest, ReadFileResponse } from "tapvisor/protocol";
import type { Agent } from "../agent.ts";
import type { RpcContext } from "../unary.ts";
import { FileError } from "./file-error.ts";
import { pathOf, READ } from "./flags.ts";
import { existing, withPlace } from "./place.ts";
import { regular } from "./regular.ts";
import { identityOf } from "./stat-file.ts";

/** The most that one answer carries, bytes. */
const MOST_BYTES = 1024 * 1024;

/** Reads from an offset, as much as was asked for or up to the end: files of /proc say nothing of their size and come in small pieces. */
export async function readFile(
  agent: Agent,
  { place, offset, length, identity }: ReadFileRequest,
  context: RpcContext,
): Promise<ReadFileResponse> {
  return withPlace(agent, place, { follow: true }, context.signal, async ({ found, signal }) => {
    const entry = existing(found, "entry");
    const stats = regular(existing(found, "stats"));
    const current = identityOf(stats);
    if (identity !== "" && identity !== current) throw new FileError("ESTALE", "Cannot read on: another file has taken its place");
    const file = await open(pathOf(entry), READ);
    try {
      const data = Buffer.allocUnsafe(Math.min(length, MOST_BYTES));
      let filled = 0;
      while (filled < data.length) {
        signal.throwIfAborted();
        const { bytesRead } = await file.read(data, filled, data.length - filled, Number(offset) + filled);
        if (bytesRead === 0) break;
        filled += bytesRead;
      }
      return { data: data.subarray(0, filled), identity: current };
    } finally {
      await file.close();
    }
  });
}
