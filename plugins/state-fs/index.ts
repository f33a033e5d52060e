import { resolve } from "node:path";
import { definePlugin } from "tapvisor/plugin";
import { createFsStore } from "./state-store.ts";

export interface StateFsOptions {
  /** Where the records lie; the engine's own state directory by default. */
  readonly directory?: string;
}

/** Keeps each sandbox's record in a JSON file: survives the script, the host's power and a second process. State store `fs`. */
export const stateFs = definePlugin<StateFsOptions>("state-fs", (ctx, options) => {
  ctx.provide("stateStore", "fs", () =>
    createFsStore({
      directory: resolve(options.directory ?? ctx.stateDirectory),
      onSweepFailed: (error) => ctx.log.warn({ error }, "remains of dead processes could not be removed"),
    }),
  );
});
