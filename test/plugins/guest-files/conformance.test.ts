import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Guest } from "tapvisor/plugin";
import { guestFiles } from "tapvisor/plugins/guest-files";
import { guestSuite } from "tapvisor/testing";
import { providerOf } from "../../support/fake-guest.ts";
import { suite } from "../../support/suite.ts";
import { tempDirectory } from "../../support/temp.ts";

const s = suite("guest-files conformance");

guestSuite(
  "guest-files",
  async () => {
    const temporary = await tempDirectory();
    const [kernel, initrd] = ["kernel", "initrd"].map((name) => join(temporary.path, name)) as [string, string];
    for (const file of [kernel, initrd]) await writeFile(file, "not empty");
    const guest = await providerOf<Guest>(guestFiles({ kernel, initrd, kernelParameters: ["quiet"] }), "guest", "files");
    return { guest, [Symbol.asyncDispose]: () => temporary[Symbol.asyncDispose]() };
  },
  { suite: s },
);

s.run();
