import { open } from "node:fs/promises";
import { errnoOf } from "tapvisor/plugin";
import { corrupt } from "./errors.ts";

/** Offsets in a meta page of LMDB's file format, bytes: `mdb.c`, `MDB_page` and `MDB_meta`, on a 64-bit machine with little-endian numbers. */
const PAGE_FLAGS = 18;
const MAGIC = 24;
const VERSION = 28;
const PAGE_SIZE = 48;
const LAST_PAGE = 144;
const TRANSACTION = 152;
const META_BYTES = 160;

const IS_META = 0x08;
const LMDB_MAGIC = 0xbeefc0de;

/**
 * Refuses a file that LMDB must not map: it trusts what the file says of itself, and a page that is not there ends the process by SIGBUS.
 * No file is fine: it will be made.
 *
 * @throws STATE_CORRUPT naming the file.
 */
export async function checkFile(file: string): Promise<void> {
  const handle = await open(file).catch((error) => {
    if (errnoOf(error) === "ENOENT") return undefined;
    throw error;
  });
  if (!handle) return;
  try {
    const { size } = await handle.stat();
    if (size === 0) return; // a first use that was cut short
    const first = await readMeta(file, handle, 0);
    const second = await readMeta(file, handle, first.pageSize);
    if (second.pageSize !== first.pageSize) throw corrupt(file, undefined, "its two heads do not agree");
    const { lastPage } = second.transaction > first.transaction ? second : first;
    const wanted = (lastPage + 1n) * BigInt(first.pageSize);
    if (wanted > BigInt(size)) throw corrupt(file, undefined, `it is cut short: ${size} bytes, wanted ${wanted}`);
  } finally {
    await handle.close();
  }
}

async function readMeta(file: string, handle: Awaited<ReturnType<typeof open>>, position: number) {
  const bytes = Buffer.alloc(META_BYTES);
  const { bytesRead } = await handle.read(bytes, 0, META_BYTES, position);
  if (bytesRead < META_BYTES) throw corrupt(file, undefined, "it is cut short in its head");
  const pageSize = bytes.readUInt32LE(PAGE_SIZE);
  const isMeta = (bytes.readUInt16LE(PAGE_FLAGS) & IS_META) !== 0;
  const isPowerOfTwo = (pageSize & (pageSize - 1)) === 0;
  if (!isMeta || bytes.readUInt32LE(MAGIC) !== LMDB_MAGIC || bytes.readUInt32LE(VERSION) === 0 || pageSize < 512 || !isPowerOfTwo) {
    throw corrupt(file, undefined, "it is damaged in its head, or another program's");
  }
  return { pageSize, lastPage: bytes.readBigUInt64LE(LAST_PAGE), transaction: bytes.readBigUInt64LE(TRANSACTION) };
}
