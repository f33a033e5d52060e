import { join } from "node:path";
import * as assert from "uvu/assert";
import { cli } from "../support/cli.ts";
import { hostOf, NOTHING } from "../support/real-engine.ts";
import { suite } from "../support/suite.ts";
import { tempDirectory } from "../support/temp.ts";
import { EXAMPLES, EXPECTED } from "./support/expected.ts";

const s = suite("examples on QEMU");

for (const [name, output] of Object.entries(EXPECTED)) {
  s.test(
    `${name} runs where it lies, prints what it should, and leaves nothing`,
    async () => {
      await using directory = await tempDirectory(); // a working directory without a configuration
      const root = join(directory.path, "root");
      const { exitCode, stdout, stderr } = await cli(["run", join(EXAMPLES, name)], { cwd: directory.path, env: { TAPVISOR_ROOT: root } });
      assert.equal([exitCode, stderr], [0, ""]);
      assert.match(stdout, output);
      assert.equal(await hostOf(root), NOTHING);
    },
    { timeoutMs: 180_000 },
  );
}

s.run();
