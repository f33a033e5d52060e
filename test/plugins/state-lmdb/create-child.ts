import { isTapvisorError } from "tapvisor/plugin";
import { loadLmdb } from "../../../plugins/state-lmdb/load-lmdb.ts";
import { createLmdbStore } from "../../../plugins/state-lmdb/state-store.ts";

/** Creates each id it is told to, and reports whether it won. */
const store = createLmdbStore({ file: process.argv[2] as string, lmdb: await loadLmdb() });

process.on("message", async (id: string) => {
  try {
    await store.create(id, process.pid);
    process.send?.({ id, won: true });
  } catch (error) {
    const taken = isTapvisorError(error) && error.code === "ALREADY_EXISTS";
    process.send?.({ id, won: false, ...(taken ? {} : { error: String(error) }) });
  }
});
process.send?.({ id: "", won: false });
