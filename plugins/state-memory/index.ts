import { definePlugin } from "tapvisor/plugin";
import { MemoryState } from "./memory-state.ts";
import { createMemoryStore } from "./state-store.ts";

export { MemoryState } from "./memory-state.ts";

export interface StateMemoryOptions {
  /** Share one between engines to let the second find what the first left; each engine has its own by default. */
  readonly state?: MemoryState;
}

/** Keeps records in this process only, for tests and dry runs. State store `memory`. */
export const stateMemory = definePlugin<StateMemoryOptions>("state-memory", (ctx, { state = new MemoryState() }) => {
  ctx.provide("stateStore", "memory", () => createMemoryStore(state));
});

export default stateMemory; // a configuration that lists this folder must find one plugin among its exports
