import { isTapvisorError, type PlannedChange } from "tapvisor";
import * as assert from "uvu/assert";
import { type FakeEngineOptions, fakeEngine } from "../support/fake-engine.ts";
import { suite } from "../support/suite.ts";

const s = suite("plan");

type Change = (paths: { readonly rootfs: string; readonly image: string }) => PlannedChange;

/** What the change itself refuses, and the hypervisor's limits that make it so. */
const REFUSED: Record<string, [NonNullable<NonNullable<FakeEngineOptions["preset"]>["hypervisor"]>, Change]> = {
  "a disk by a driver that the hypervisor has not": [
    { diskDrivers: ["virtio-blk"] },
    ({ image }) => ({ addDevice: { path: image, driver: "virtio-scsi" } }),
  ],
  "any disk, where none can be plugged in": [{ diskDrivers: [] }, ({ image }) => ({ addDevice: { path: image } })],
  "a directory, where none can be shared": [{ shareHotplug: false }, ({ rootfs }) => ({ create: { rootfs, command: ["true"] } })],
  "more vCPUs than a VM of one size has": [
    { resize: false },
    ({ rootfs }) => ({ create: { rootfs, command: ["true"], resources: { vcpus: 64 } } }),
  ],
};

for (const [what, [hypervisor, change]] of Object.entries(REFUSED)) {
  s.test(`plan() refuses as the change itself does: ${what}`, async () => {
    await using world = await fakeEngine({ preset: { hypervisor } });
    const sandbox = await world.engine.runSandbox({ id: "box" });
    const before = await world.everything();
    const error = await sandbox.plan(change(world)).catch((thrown: unknown) => thrown);
    assert.is(isTapvisorError(error) && error.code, "UNSUPPORTED");
    assert.equal(await world.everything(), before);
  });
}

s.run();
