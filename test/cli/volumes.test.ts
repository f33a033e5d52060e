import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { createEngine } from "tapvisor";
import * as assert from "uvu/assert";
import { cli } from "../support/cli.ts";
import { suite } from "../support/suite.ts";
import { tempDirectory } from "../support/temp.ts";

const s = suite("tapvisor volumes");

s.test(
  "lists the volumes that containers have made, and removes one",
  async () => {
    await using directory = await tempDirectory();
    const root = join(directory.path, "root");
    const rootfs = join(directory.path, "rootfs");
    await mkdir(rootfs);
    {
      await using engine = await createEngine({ preset: "fake", root });
      await using sandbox = await engine.runSandbox();
      const mounts = ["one", "two"].map((volume) => ({ volume, target: `/${volume}` }));
      await sandbox.createContainer({ rootfs, command: ["true"], mounts });
    }
    const run = (...args: string[]) => cli(["volumes", "--root", root, ...args], { cwd: directory.path });
    const listed = JSON.parse((await run("--json")).stdout) as { name: string; bytes: number }[];
    assert.equal(
      listed.map(({ name }) => name),
      ["one", "two"],
    );
    const removed = await run("--rm", "one");
    assert.is(removed.exitCode, 0, removed.stderr);
    assert.match((await run()).stdout, /^NAME +CREATED +SIZE\ntwo /);
    assert.is((await run("--rm", "one")).exitCode, 0, "what is gone is gone");
    const bad = await run("--rm", "../x");
    assert.is(bad.exitCode, 125);
    assert.match(bad.stderr, "INVALID_INPUT");
  },
  { timeoutMs: 60_000 },
);

s.run();
