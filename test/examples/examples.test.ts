import { copyFile, cp, mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { cli } from "../support/cli.ts";
import { suite } from "../support/suite.ts";
import { tempDirectory } from "../support/temp.ts";
import { EXAMPLES, EXPECTED, exampleFiles } from "./support/expected.ts";

const s = suite("examples on the fakes");

s.test("every file of examples/ is one whose output is known", () => {
  assert.equal(exampleFiles(), Object.keys(EXPECTED).sort());
});

for (const [name, output] of Object.entries(EXPECTED)) {
  s.test(
    `${name} runs unmodified, prints what it should, and leaves nothing`,
    async () => {
      await using at = await scene();
      await copyFile(join(EXAMPLES, name), join(at.path, name));
      const { exitCode, stdout, stderr } = await cli(["run", name], { cwd: at.path });
      assert.equal([exitCode, stderr], [0, ""]);
      assert.match(stdout, output);
      assert.equal(await readdir(join(at.path, "root/run")).catch(() => []), []);
    },
    { timeoutMs: 60_000 },
  );
}

/** A directory with what the examples name, where engines are on the fakes. */
async function scene() {
  const directory = await tempDirectory();
  await mkdir(join(directory.path, "rootfs"));
  await cp(join(EXAMPLES, "data"), join(directory.path, "data"), { recursive: true });
  const programs = join(import.meta.dirname, "../docs/support/fake-programs.ts");
  const config = { preset: "fake", root: "root", plugins: [programs] };
  await writeFile(join(directory.path, "tapvisor.config.json5"), JSON.stringify(config));
  return directory;
}

s.run();
