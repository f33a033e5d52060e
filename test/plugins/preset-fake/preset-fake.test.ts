import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { createEngine } from "tapvisor";
import type { Agent, Hypervisor, Plugin } from "tapvisor/plugin";
import { presetFake } from "tapvisor/plugins/preset-fake";
import { FakeWorld, quietCall } from "tapvisor/testing";
import * as assert from "uvu/assert";
import { fakeWorld, providerOf } from "../../support/fake-guest.ts";
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

s.test("the hypervisor and the agent can be told what they cannot do", async () => {
  const { plugins } = presetFake({ world: new FakeWorld(), hypervisor: { resize: false }, agent: { extras: false } });
  const [hypervisor, agent] = plugins as [Plugin, Plugin];
  const fake = await providerOf<Hypervisor>(hypervisor, "hypervisor", "fake");
  assert.equal(fake.capabilities.resize, false);
  await using w = await fakeWorld();
  const vm = await fake.holdings.vm.acquire(w.vmIntent("web"), quietCall());
  const target = { sandbox: "web", endpoint: vm.agentEndpoint, runDirectory: vm.runDirectory };
  const client = await (await providerOf<Agent>(agent, "agent", "fake")).connect(target, quietCall());
  assert.is(await client.syncResources({}, quietCall()), undefined);
  await client.close();
});

s.run();
