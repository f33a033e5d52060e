import { stat } from "node:fs/promises";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { suite } from "../../support/suite.ts";
import { poolEngine, until } from "./support/pool-engine.ts";

const s = suite("warm pool: what waits and who gets it");
const SANDBOX = { template: true } as const;

s.test("a sandbox gets a VM that waited, which is all that one of its own would be, and its place is filled", async () => {
  await using w = await poolEngine();
  await using first = await w.engine.runSandbox(SANDBOX);
  await w.filled(2);
  const waited = w.waiting();
  const before = w.started().length;

  let seen = 0;
  w.taps.onUp = () => {
    seen = w.started().length;
  };
  await using second = await w.engine.runSandbox({ ...SANDBOX, id: "box" });
  assert.is(seen, before, "nothing is started while a sandbox comes up");
  const mine = waited.find((name) => !w.waiting().includes(name));
  assert.is(w.world.vm(mine ?? "")?.state, "running");
  assert.is(w.world.vm("box"), undefined);
  const mounts = [{ source: w.directory, target: "/data" }];
  const container = await second.run({ rootfs: w.rootfs, command: ["sleep", "60"], mounts, resources: { vcpus: 1, memory: "128MiB" } });
  assert.is(w.world.vm(mine ?? "")?.shares.size, 1);
  const disk = await second.addDevice({ path: w.image });
  assert.is(w.world.vm(mine ?? "")?.disks.size, 1);
  assert.is((await second.resources()).confirmed?.vcpus, 2);
  await second.pause();
  await second.resume();
  await second.removeDevice(disk.id);
  await container.stop({ timeoutMs: 10 });
  await w.filled(2);
  await second.stop();
  assert.is(w.world.vm(mine ?? ""), undefined);
  await second.start(); // from another one
  assert.is(first.state, "running");
});

s.test("waiting VMs stand still, have private places, and hold no connection", async () => {
  await using w = await poolEngine({ size: 3 });
  await using _ = await w.engine.createSandbox(SANDBOX);
  await w.filled(3);
  const vms = w.world.snapshot().vms.filter(({ sandbox }) => w.waiting().includes(sandbox));
  for (const { views, agentConnections, guest } of vms) assert.equal([views, agentConnections, guest.sandbox], [0, 0, null]);
  for (const place of await w.places()) assert.is((await stat(join(w.directory, "root/state/warm", place))).mode & 0o077, 0, place);
  assert.is((await w.places()).length, 1 + 2 * 3);
});

s.test("another kind of VM is not handed out: those that wait make room for what is wanted now", async () => {
  await using w = await poolEngine();
  await using _one = await w.engine.createSandbox(SANDBOX);
  await w.filled(2);
  const earlier = w.waiting();
  await using two = await w.engine.createSandbox({ ...SANDBOX, id: "box", vcpus: 2 });
  assert.is(w.world.vm("box")?.intent.vcpus, 2);
  await until(() => w.waiting().every((name) => !earlier.includes(name)));
  await w.filled(2);
  assert.equal(
    w.waiting().map((name) => w.world.vm(name)?.intent.vcpus),
    [2, 2],
  );
  await two.stop();
});

s.test("a sandbox that boots, and one that outlives the script, are nothing to the pool", async () => {
  await using w = await poolEngine();
  await using _boots = await w.engine.createSandbox({ template: false });
  await using kept = await w.engine.createSandbox({ ...SANDBOX, detached: true });
  assert.is(w.started().length, 2);
  assert.equal(await w.places(), []);
  await kept.stop();
  await kept.delete();
});

s.test("a template that is removed while VMs wait does no harm, and one that is built anew is another one", async () => {
  await using w = await poolEngine();
  await using _one = await w.engine.createSandbox(SANDBOX);
  await w.filled(2);
  const earlier = w.waiting();
  await w.engine.removeTemplates();
  assert.equal(w.waiting(), earlier);
  await using _two = await w.engine.createSandbox({ ...SANDBOX, id: "box" });
  assert.ok(w.world.vm("box"), "of the new template");
  await until(() => w.waiting().every((name) => !earlier.includes(name)));
  await w.filled(2);
});

s.test("who needs a VM while one is being started gets that one; who comes then starts its own", async () => {
  await using w = await poolEngine({ size: 1 });
  await using _one = await w.engine.createSandbox(SANDBOX);
  await until(() => w.started().length === 2); // one is being started
  const both = [w.engine.createSandbox({ ...SANDBOX, id: "box" }), w.engine.createSandbox({ ...SANDBOX, id: "other" })];
  for (const sandbox of await Promise.all(both)) assert.is(sandbox.state, "ready");
  const own = ["box", "other"].filter((name) => w.world.vm(name) !== undefined);
  assert.is(own.length, 1);
  await w.filled(1);
});

s.run();
