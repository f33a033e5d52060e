import { join, resolve } from "node:path";
import { definePlugin, validate } from "tapvisor/plugin";
import { z } from "zod";
import { loadLmdb } from "./load-lmdb.ts";
import { createLmdbStore } from "./state-store.ts";

export interface StateLmdbOptions {
  /** The database file; `state.mdb` in the engine's state directory by default. */
  readonly file?: string;
}

const schema = z.strictObject({ file: z.string("wanted a path").min(1, "wanted a path").optional() });

/** Keeps the records in one LMDB file, by the optional package `lmdb`. State store `lmdb`. */
export const stateLmdb = definePlugin<StateLmdbOptions>("state-lmdb", (ctx, options) => {
  const { file } = validate(schema, options, "state-lmdb");
  ctx.provide("stateStore", "lmdb", async () =>
    createLmdbStore({
      file: resolve(file ?? join(ctx.stateDirectory, "state.mdb")),
      lmdb: await loadLmdb(),
      onSweepFailed: (error) => ctx.log.warn({ error }, "locks of dead processes could not be removed"),
    }),
  );
});
