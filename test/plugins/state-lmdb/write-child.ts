import { loadLmdb } from "../../../plugins/state-lmdb/load-lmdb.ts";
import { createLmdbStore } from "../../../plugins/state-lmdb/state-store.ts";

/** Writes records that grow and shrink for ever, and says which number is on disk. */
const store = createLmdbStore({ file: process.argv[2] as string, lmdb: await loadLmdb() });
for (let n = Number(process.argv[3]); ; n++) {
  await store.write("web", { n, filler: "x".repeat((n * 7919) % 20_000) });
  process.send?.(n);
}
