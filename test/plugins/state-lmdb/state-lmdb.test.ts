import { join } from "node:path";
import { stateStoreSuite } from "tapvisor/testing";
import { loadLmdb } from "../../../plugins/state-lmdb/load-lmdb.ts";
import { createLmdbStore } from "../../../plugins/state-lmdb/state-store.ts";
import { suite } from "../../support/suite.ts";
import { tempDirectory } from "../../support/temp.ts";

const s = suite("state-lmdb");

stateStoreSuite(
  "state-lmdb",
  async () => {
    const temporary = await tempDirectory();
    const file = join(temporary.path, "made", "later", "state.mdb");
    const lmdb = await loadLmdb();
    return { open: async () => createLmdbStore({ file, lmdb }), [Symbol.asyncDispose]: () => temporary[Symbol.asyncDispose]() };
  },
  { suite: s },
);

s.run();
