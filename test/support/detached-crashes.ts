import { createEngine } from "tapvisor";
import * as assert from "uvu/assert";
import type { Crash } from "./crash-child.ts";
import { type CrashScene, nameOf } from "./crash-scene.ts";
import { watchedBackends } from "./watched-backends.ts";
import { guestView, hostView, stateFiles, vmView } from "./whole-world.ts";

export type DetachedCrash = Omit<Crash, "root" | "rootfs" | "attach">;

/** Scripts that die in the life of a container, one after another in one detached sandbox: the next one finds the VM as it was before them. */
export async function survivesCrashes({ root, rootfs, empty, dies }: CrashScene, crashes: readonly DetachedCrash[]): Promise<void> {
  const { plugins, grant } = watchedBackends();
  await using owner = await createEngine({ root, plugins });
  const first = await owner.runSandbox({ id: "live", detached: true });
  await guestView(first, rootfs);
  // vCPUs that have been plugged in once stay plugged in, parked: they are there from here on.
  await (await first.run({ id: "web", rootfs, command: ["sleep", "600"], resources: { vcpus: 2 } }))[Symbol.asyncDispose]();
  const before = { guest: await guestView(first, rootfs), vm: await vmView(grant("live")), host: await hostView(root) };
  await owner.close();
  try {
    for (const crash of crashes) {
      await dies({ ...crash, attach: "live" });
      await using engine = await createEngine({ root, plugins: watchedBackends().plugins });
      assert.equal(await engine.gc(), { collected: [], kept: ["live"], failed: [], corrupt: [] }, nameOf(crash));
      const sandbox = await engine.sandbox("live");
      for (const container of sandbox.containers()) await container[Symbol.asyncDispose]();
      assert.equal(sandbox.containers(), [], nameOf(crash));
      const now = { guest: await guestView(sandbox, rootfs), vm: await vmView(grant("live")) };
      assert.equal(now, { guest: before.guest, vm: before.vm }, nameOf(crash));
      const { target, granted } = await sandbox.resources();
      assert.equal(granted, target, nameOf(crash));
      assert.equal(sandbox.devices(), [], nameOf(crash));
      const again = await sandbox.run({ id: "web", rootfs, command: ["true"] });
      assert.equal(await again.wait(), { exitCode: 0 });
      await again.delete();
    }
  } finally {
    await using engine = await createEngine({ root });
    const sandbox = await engine.sandbox("live");
    await sandbox.stop({ force: true });
    await sandbox.delete();
  }
  assert.equal(await hostView(root), empty);
  assert.equal(await stateFiles(root), []);
}
