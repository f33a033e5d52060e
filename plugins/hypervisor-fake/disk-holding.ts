import { type DiskDriver, type DiskGrant, type DiskIntent, type HoldingKind, TapvisorError } from "tapvisor/plugin";
import type { FakeWorld } from "tapvisor/testing";
import { badDisk, imageBytes } from "./disk-image.ts";
import { liveVm } from "./vm-view.ts";

/** The longest name that QEMU takes for a node, bytes. */
const MAX_ID = 31;

/** Images and block devices plugged into a VM. Their files are looked at and stay as they are. */
export function diskHolding(world: FakeWorld, drivers: readonly DiskDriver[]): HoldingKind<DiskIntent, DiskGrant> {
  return {
    acquire: (intent, call) =>
      world.perform("hypervisor.disk.acquire", { sandbox: intent.sandbox }, call.signal, async () => {
        liveVm(world, intent.vm);
        check(intent, drivers);
        const bytes = await imageBytes(intent);
        checkLocks(world, intent);
        return { id: intent.id, guest: liveVm(world, intent.vm).plugDisk(intent, bytes) }; // again: it may have ended meanwhile
      }),
    release: ({ intent }, call) =>
      world.perform("hypervisor.disk.release", { sandbox: intent.sandbox }, call.signal, () => {
        const vm = world.vm(intent.sandbox);
        if (vm?.intent.nonce === intent.vm.nonce) vm.disks.delete(intent.id);
      }),
  };
}

function check({ id, driver, index }: DiskIntent, drivers: readonly DiskDriver[]): void {
  if (!drivers.includes(driver)) {
    throw new TapvisorError("UNSUPPORTED", `Cannot plug disk "${id}": by ${drivers.join(", ")}, not by ${driver}`, {
      data: { what: `disk driver ${driver}`, by: "hypervisor-fake" },
    });
  }
  if (!/^[\w.-]+$/.test(id) || id.length > MAX_ID) throw badDisk("disk.id", id, `1 to ${MAX_ID} letters, digits, ".", "_" and "-"`);
  if (!Number.isSafeInteger(index) || index < 0) throw badDisk("disk.index", index, "a whole number");
}

/** As QEMU locks images: one that is written to is in no other disk, of whichever VM. */
function checkLocks(world: FakeWorld, { path, readonly }: DiskIntent): void {
  const others = world.snapshot().vms.flatMap(({ disks }) => disks.filter((each) => each.path === path));
  if (others.every((each) => each.readonly && readonly)) return;
  throw badDisk("disk.path", path, `a disk that nobody else ${readonly ? "writes to" : "uses"}`);
}
