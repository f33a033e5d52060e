import { mkdir, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { RootfsStorage } from "tapvisor/plugin";
import { rootfsDir } from "tapvisor/plugins/rootfs-dir";
import { rootfsSuite } from "tapvisor/testing";
import { providerOf } from "../../support/fake-guest.ts";
import { suite } from "../../support/suite.ts";
import { tempDirectory } from "../../support/temp.ts";

const s = suite("rootfs-dir conformance");

rootfsSuite(
  "rootfs-dir",
  async () => {
    const temporary = await tempDirectory();
    const [directory, source, state] = ["mine", "source", "state"].map((name) => join(temporary.path, name)) as [string, string, string];
    for (const each of [directory, source, state]) await mkdir(each);
    return {
      storage: await providerOf<RootfsStorage>(rootfsDir(), "rootfs", "dir", state),
      directory,
      source: async () => ({ kind: "directory", path: source }),
      snapshot: async () => ({
        files: [await readdir(source), await readdir(state)],
        mounts: (await readFile("/proc/self/mountinfo", "utf8")).split("\n").filter((line) => line.includes(temporary.path)),
      }),
      [Symbol.asyncDispose]: () => temporary[Symbol.asyncDispose](),
    };
  },
  { suite: s },
);

s.run();
