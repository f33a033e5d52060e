import { stateStoreSuite } from "tapvisor/testing";
import { MemoryState } from "../../../plugins/state-memory/memory-state.ts";
import { createMemoryStore } from "../../../plugins/state-memory/state-store.ts";
import { suite } from "../../support/suite.ts";

const s = suite("state-memory");

stateStoreSuite(
  "state-memory",
  async () => {
    const state = new MemoryState();
    return { open: async () => createMemoryStore(state), [Symbol.asyncDispose]: async () => {} };
  },
  { suite: s },
);

s.run();
