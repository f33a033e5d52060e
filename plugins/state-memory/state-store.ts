import { checkId, type StateStore, TapvisorError } from "tapvisor/plugin";
import type { MemoryState } from "./memory-state.ts";

/** A state store that forgets everything with the process. */
export function createMemoryStore(state: MemoryState): StateStore {
  const held = new Set<() => void>();
  return {
    async create(id, record) {
      if (state.has(checkId("id", id))) {
        throw new TapvisorError("ALREADY_EXISTS", `Cannot create sandbox "${id}": there is one of this id, wanted a new id`, {
          data: { kind: "sandbox", id },
          hint: "choose another id, or delete that sandbox first",
        });
      }
      state.set(id, record);
    },

    async write(id, record) {
      if (!state.has(checkId("id", id))) {
        throw new TapvisorError("NOT_FOUND", `Cannot write the record of sandbox "${id}": there is none, wanted one made by create`, {
          data: { kind: "sandbox", id },
        });
      }
      state.set(id, record);
    },

    read: async (id) => state.get(checkId("id", id)),
    list: async () => state.ids(),
    remove: async (id) => state.delete(checkId("id", id)),

    async lock(id, call) {
      const unlock = await state.lock(checkId("id", id), call.signal);
      held.add(unlock);
      return {
        async release() {
          held.delete(unlock);
          unlock();
        },
      };
    },

    async close() {
      for (const unlock of held) unlock();
      held.clear();
    },
  };
}
