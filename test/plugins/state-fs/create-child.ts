import { isTapvisorError } from "tapvisor/plugin";
import { createFsStore } from "../../../plugins/state-fs/state-store.ts";

/** Creates each id it is told to, and reports whether it won. */
const store = createFsStore({ directory: process.argv[2] as string });

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
