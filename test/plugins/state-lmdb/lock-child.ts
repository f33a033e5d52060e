import { quietCall } from "tapvisor/testing";
import { loadLmdb } from "../../../plugins/state-lmdb/load-lmdb.ts";
import { createLmdbStore } from "../../../plugins/state-lmdb/state-store.ts";

/** Takes the lock, says its pid, and never lets go. */
const store = createLmdbStore({ file: process.argv[2] as string, lmdb: await loadLmdb() });
await store.lock("web", quietCall());
process.send?.(process.pid);
setInterval(() => {}, 60_000); // an open promise alone does not keep a process alive
