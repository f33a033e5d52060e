import { join } from "node:path";
import { stateStoreSuite } from "tapvisor/testing";
import { createFsStore } from "../../../plugins/state-fs/state-store.ts";
import { suite } from "../../support/suite.ts";
import { tempDirectory } from "../../support/temp.ts";

const s = suite("state-fs");

stateStoreSuite(
  "state-fs",
  async () => {
    const temporary = await tempDirectory();
    const directory = join(temporary.path, "made", "later");
    return { open: async () => createFsStore({ directory }), [Symbol.asyncDispose]: () => temporary[Symbol.asyncDispose]() };
  },
  { suite: s },
);

s.run();
