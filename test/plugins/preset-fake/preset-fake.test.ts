import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { createEngine } from "tapvisor";
import { presetFake } from "tapvisor/plugins/preset-fake";
import { FakeWorld } from "tapvisor/testing";
import * as assert from "uvu/assert";
import { suite } from "../../support/suite.ts";
import { tempDirectory } from "../../support/temp.ts";

const s = suite("preset-fake");

s.test("a container runs in it, and afterwards the world holds what it held before", async () => {
  await using directory = await tempDirectory();
  const rootfs = join(directory.path, "rootfs");
  await mkdir(rootfs);
  const world = new FakeWorld();
  const before = world.snapshot();
  {
    await using engine = await createEngine({ preset: presetFake({ world }), root: join(directory.path, "root") });
    await using sandbox = await engine.runSandbox({ memory: "256MiB" });
    const container = await sandbox.run({ rootfs, command: ["echo", "hello"] });
    assert.is(await container.stdout.text(), "hello\n");
    assert.is((await container.wait()).exitCode, 0);
    assert.is(world.snapshot().vms.length, 1);
  }
  assert.equal(world.snapshot(), before);
});

s.run();
