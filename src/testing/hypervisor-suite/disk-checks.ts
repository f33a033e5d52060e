import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import type { DiskDriver, DiskIntent } from "../../contracts/hypervisor.ts";
import type { CheckOn } from "../conformance/checks.ts";
import { assertRecordable, failure, firedCall } from "../conformance/expect.ts";
import { quietCall } from "../quiet-call.ts";
import { assertAddress, type DiskWorld, onlyTheVmIsHeld, openFiles, withDisks } from "./disk-world.ts";
import { connected, type HypervisorFixture } from "./fixture.ts";

/** Disks plugged into a running VM, by each driver there is; nothing to check, but the capability, for a hypervisor without. */
export function diskChecks(check: CheckOn<HypervisorFixture>): void {
  const checkDisk = (behaviour: string, body: (world: DiskWorld) => Promise<void>) =>
    check(behaviour, async (fixture) => {
      for (const driver of fixture.hypervisor.capabilities.diskDrivers ?? []) await withDisks(fixture, driver, body);
    });

  check("the capability to plug disks says whether there is a holding for them, and by which drivers", async ({ hypervisor }) => {
    const { diskDrivers = [] } = hypervisor.capabilities;
    assert.equal(hypervisor.holdings.disk !== undefined, diskDrivers.length > 0);
    assert.equal(new Set(diskDrivers).size, diskDrivers.length, "a driver stands there twice");
    for (const driver of diskDrivers) assert.ok(["virtio-scsi", "virtio-blk"].includes(driver), `"${driver}" is no driver of a disk`);
  });

  checkDisk("a disk is granted as data that says where the guest finds it, and given back twice", async (world) => {
    const { disk, fixture } = world;
    const intent = await world.diskIntent("data", { index: 3 });
    const before = await readFile(intent.path);
    const grant = await disk.acquire(intent, quietCall());
    assertRecordable("a disk's grant", grant);
    assert.equal(grant.id, "data");
    assertAddress(grant, intent);
    assert.notDeepEqual(await fixture.snapshot(), world.bare, "the fixture's snapshot does not show a disk that is held");
    for (let time = 0; time < 2; time++) await disk.release({ intent, grant }, quietCall());
    await onlyTheVmIsHeld(world);
    assert.ok(before.equals(await readFile(intent.path)), "the image has changed");
  });

  checkDisk("a disk is given back by its intent alone, after JSON, and when it never was", async (world) => {
    const intent = await world.diskIntent("data");
    await world.disk.release({ intent, grant: undefined }, quietCall());
    await world.disk.acquire(intent, quietCall());
    await world.disk.release(JSON.parse(JSON.stringify({ intent })), quietCall());
    await onlyTheVmIsHeld(world);
  });

  checkDisk("a disk can be plugged again under the same id and index, and finds the same place", async (world) => {
    const intent = await world.diskIntent("data");
    const places = [];
    for (let time = 0; time < 2; time++) {
      const grant = await world.disk.acquire(intent, quietCall());
      places.push(grant.guest);
      await world.disk.release({ intent, grant }, quietCall());
    }
    assert.deepEqual(places[1], places[0]);
    await onlyTheVmIsHeld(world);
  });

  checkDisk("several disks have a place each, and are given back one by one, in any order", async (world) => {
    const held = [];
    const steps = [];
    for (const [index, id] of ["a", "b", "c"].entries()) {
      const intent = await world.diskIntent(id, { index });
      held.push({ intent, grant: await world.disk.acquire(intent, quietCall()) });
      steps.push(await world.fixture.snapshot());
    }
    assert.equal(new Set(held.map(({ grant }) => grant.guest.address)).size, held.length, "two disks have one address");
    for (const { intent, grant } of held) assertAddress(grant, intent);
    for (const index of [2, 0, 1]) {
      const each = held[index];
      if (each) await world.disk.release(each, quietCall());
      if (index === 2) assert.deepEqual(await world.fixture.snapshot(), steps[1], "the release of one disk took another's place");
    }
    await onlyTheVmIsHeld(world);
  });

  checkDisk("a second disk of an id is refused, and its release leaves nothing", async (world) => {
    const intent = await world.diskIntent("data");
    await world.disk.acquire(intent, quietCall());
    const second = await world.diskIntent("data", { index: 1 });
    await failure("acquire() of a taken id", world.disk.acquire(second, quietCall()));
    await world.disk.release({ intent: second, grant: undefined }, quietCall());
    await onlyTheVmIsHeld(world);
  });

  checkDisk("a second disk at a SCSI address is refused, and its release leaves the first one", async (world) => {
    if (world.driver !== "virtio-scsi") return; // another driver's address has nothing to do with the index
    const first = await world.diskIntent("first");
    const grant = await world.disk.acquire(first, quietCall());
    const held = await world.fixture.snapshot();
    const second = await world.diskIntent("second");
    await failure("acquire() of a taken index", world.disk.acquire(second, quietCall()));
    await world.disk.release({ intent: second, grant: undefined }, quietCall());
    assert.deepEqual(await world.fixture.snapshot(), held);
    await world.disk.release({ intent: first, grant }, quietCall());
    await onlyTheVmIsHeld(world);
  });

  for (const [what, amend] of Object.entries<(fixture: HypervisorFixture) => Partial<DiskIntent>>({
    "an image that does not exist": () => ({ path: "/nonexistent/image" }),
    "a directory in place of an image": ({ directory }) => ({ path: directory }),
    "an image of another format": () => ({ format: "qcow2" }),
  })) {
    checkDisk(`${what} is refused and leaves nothing that stands in the way of the next`, async (world) => {
      const intent = await world.diskIntent("data");
      await failure(`acquire() of ${what}`, world.disk.acquire({ ...intent, ...amend(world.fixture) }, quietCall()));
      await onlyTheVmIsHeld(world);
      const grant = await world.disk.acquire(intent, quietCall());
      await world.disk.release({ intent, grant }, quietCall());
      await onlyTheVmIsHeld(world);
    });
  }

  for (const [what, amend] of Object.entries<Partial<DiskIntent>>({
    "a driver that the capability does not name": { driver: "no-such-driver" as DiskDriver },
    "an id that leads elsewhere": { id: "../data" },
    "an index below 0": { index: -1 },
  })) {
    checkDisk(`${what} is refused, and its release is success`, async (world) => {
      const intent = await world.diskIntent("data", amend);
      await failure(`acquire() with ${what}`, world.disk.acquire(intent, quietCall()));
      await world.disk.release({ intent, grant: undefined }, quietCall());
      await onlyTheVmIsHeld(world);
    });
  }

  checkDisk("a read-only disk's image is open for reading only, and can be on several", async (world) => {
    const path = await world.image();
    const held = [];
    for (const [index, id] of ["a", "b"].entries()) {
      const intent = await world.diskIntent(id, { path, index, readonly: true });
      held.push({ intent, grant: await world.disk.acquire(intent, quietCall()) });
    }
    const writers = (await openFiles(world.grant, path)).filter(({ writable }) => writable);
    assert.deepEqual(writers, [], "the VM's process can write to a read-only disk");
    for (const each of held) await world.disk.release(each, quietCall());
    await onlyTheVmIsHeld(world);
  });

  checkDisk("acquire() with a signal that has fired fails and leaves nothing", async (world) => {
    await failure("acquire() with a fired signal", world.disk.acquire(await world.diskIntent("data"), firedCall()));
    await onlyTheVmIsHeld(world);
  });

  checkDisk("acquire() for a dead VM fails and leaves nothing of the disk", async (world) => {
    await world.fixture.kill(world.grant);
    const intent = await world.diskIntent("data");
    await failure("acquire() for a dead VM", world.disk.acquire(intent, quietCall()));
    await world.disk.release({ intent, grant: undefined }, quietCall());
  });

  for (const known of ["with", "without"]) {
    checkDisk(`a disk of a VM that has died is given back, ${known} its grant`, async (world) => {
      const intent = await world.diskIntent("data");
      const grant = await world.disk.acquire(intent, quietCall());
      await world.fixture.kill(world.grant);
      await world.disk.release({ intent, grant: known === "with" ? grant : undefined }, quietCall());
    });
  }

  checkDisk("a disk is given back after the VM itself was", async (world) => {
    const intent = await world.diskIntent("data");
    const grant = await world.disk.acquire(intent, quietCall());
    await world.fixture.hypervisor.holdings.vm.release({ intent: world.intent, grant: undefined }, quietCall());
    await world.disk.release({ intent, grant }, quietCall());
  });

  checkDisk("a guest that does not answer holds a disk's release up no longer than its deadline", async (world) => {
    const { disk, fixture, grant: vm } = world;
    if (!fixture.hypervisor.capabilities.pause) return;
    const intent = await world.diskIntent("data");
    const grant = await disk.acquire(intent, quietCall());
    await connected(fixture, vm, (view) => view.pause(quietCall()));
    await Promise.allSettled([disk.release({ intent, grant }, quietCall({ timeoutMs: 1_000 }))]); // it may fail: the VM's release cures it
    await fixture.hypervisor.holdings.vm.release({ intent: world.intent, grant: vm }, quietCall());
    await disk.release({ intent, grant }, quietCall());
  });
}
