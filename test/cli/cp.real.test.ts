import { execFile } from "node:child_process";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { createEngine } from "tapvisor";
import * as assert from "uvu/assert";
import { realEngine } from "../support/real-engine.ts";
import { suite } from "../support/suite.ts";

const s = suite("tapvisor cp on the real guest");
const run = promisify(execFile);

s.test(
  "files, directories and archives go into a container of a detached sandbox and come back as they were",
  async () => {
    await using world = await realEngine();
    const sandbox = await world.engine.createSandbox({ id: "box", detached: true });
    await sandbox.start();
    await sandbox.run({ id: "web", rootfs: world.rootfs, command: ["sleep", "100000"] });
    await world.engine.close(); // lets go of it: the commands take it over
    await using _end = {
      async [Symbol.asyncDispose]() {
        await using engine = await createEngine({ root: world.root });
        const box = await engine.sandbox("box");
        await box.stop({ force: true });
        await box.delete();
      },
    };
    const main = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));
    const env = {
      ...process.env,
      LOG_LEVEL: "silent",
      TV: `${process.execPath} --import ${import.meta.resolve("tsx")} ${main}`,
      TAPVISOR_ROOT: world.root,
    };
    const sh = async (line: string) => (await run("sh", ["-euc", line], { cwd: world.directory, env })).stdout;
    await mkdir(join(world.directory, "tree/deep"), { recursive: true });
    await writeFile(join(world.directory, "tree/deep/leaf"), Buffer.alloc(700_000, "leaf"));
    await writeFile(join(world.directory, "tree/program"), "#!/bin/sh\necho ran", { mode: 0o755 });

    await sh("$TV cp tree box:/srv-tree && $TV cp tree/program box/web:/bin/");
    assert.is(await sh("$TV exec box -- sh -c 'program; stat -c %u /srv-tree/deep/leaf; wc -c < /srv-tree/deep/leaf'"), "ran\n0\n700000\n");
    await sh("$TV cp box:/srv-tree copy && $TV cp box:/srv-tree/program . && diff -r tree copy && cmp tree/program program");
    await sh("tar -C tree -c . | $TV cp -a - box:/from-tar && mkdir out && $TV cp box:/from-tar - | tar -C out -x && diff -r tree out");
    const failed = await sh("$TV cp box:/no-such here; echo not reached").catch((error: { code: number; stderr: string }) => error);
    if (typeof failed === "string") throw new Error("a file that is not there was copied");
    assert.is(failed.code, 125);
    assert.match(failed.stderr, "/no-such");
    assert.is(await readFile(join(world.directory, "here"), "utf8").catch(({ code }) => code), "ENOENT");
  },
  { timeoutMs: 240_000 },
);

s.run();
