import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { rootfsSuite } from "tapvisor/testing";
import { suite } from "../../support/suite.ts";
import { filesBelow, makeExt4, rootfsWorld } from "./world.ts";

const s = suite("rootfs-block conformance");

rootfsSuite(
  "rootfs-block",
  async () => {
    const world = await rootfsWorld();
    const [directory, tree] = [join(world.top, "mine"), join(world.files, "tree")];
    for (const each of [directory, tree]) await mkdir(each);
    await writeFile(join(tree, "mark"), "mark");
    const image = await makeExt4(join(world.files, "disk.img"));
    return {
      storage: world.storage,
      directory,
      source: async (kind) => (kind === "block" ? { kind, path: image } : { kind: "directory", path: tree }),
      snapshot: async () => ({
        images: await world.left(),
        sources: await filesBelow(world.files),
        disk: (await readFile(image)).toString("latin1"),
        mounts: (await readFile("/proc/self/mountinfo", "utf8")).split("\n").filter((line) => line.includes(world.top)),
      }),
      [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
    };
  },
  { suite: s },
);

s.run();
