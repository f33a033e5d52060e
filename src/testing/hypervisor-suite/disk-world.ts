import assert from "node:assert/strict";
import { constants } from "node:fs";
import { readdir, readFile, readlink, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { MiB } from "../../base/units.ts";
import type { DiskDriver, DiskGrant, DiskIntent, Hypervisor, VmGrant, VmIntent } from "../../contracts/hypervisor.ts";
import { type HypervisorFixture, withVm } from "./fixture.ts";

/** LUNs of one SCSI id, and the form of a PCI path. */
const LUNS = 256;
const PCI_PATH = /^[0-9a-f]{2}\/[0-9a-f]{2}$/;

/** Of a file's flags, those that say whether it can be written: all zero for reading only. */
const ACCESS_MODE = constants.O_WRONLY | constants.O_RDWR;

/** What stands at the beginning of an image of the checks' own, to see that nobody changes it. */
const MARK = "the first bytes of an image";

/** A running VM and a driver to plug disks into it by. */
export interface DiskWorld {
  readonly fixture: HypervisorFixture;
  readonly disk: NonNullable<Hypervisor["holdings"]["disk"]>;
  readonly driver: DiskDriver;
  readonly intent: VmIntent;
  readonly grant: VmGrant;
  /** What the VM alone holds. */
  readonly bare: unknown;
  /** An image of its own. */
  image(): Promise<string>;
  /** A writable disk of a new image, at index 0. */
  diskIntent(id: string, amend?: Partial<DiskIntent>): Promise<DiskIntent>;
}

/** Starts a VM, lets `body` plug disks into it, and takes the images away again. */
export async function withDisks(fixture: HypervisorFixture, driver: DiskDriver, body: (world: DiskWorld) => Promise<void>): Promise<void> {
  const { disk } = fixture.hypervisor.holdings;
  if (!disk) assert.fail("a hypervisor that can plug disks has no holding for them");
  const images: string[] = [];
  const image = async () => {
    const path = join(fixture.directory, `disk-check-${images.length}.img`);
    images.push(path);
    await writeFile(path, MARK);
    await truncate(path, MiB);
    return path;
  };
  try {
    await withVm(fixture, async ({ intent, grant }) => {
      const diskIntent: DiskWorld["diskIntent"] = async (id, amend) => {
        const path = amend?.path ?? (await image());
        return { sandbox: grant.sandbox, vm: grant, id, path, format: "raw", readonly: false, driver, index: 0, ...amend };
      };
      await body({ fixture, disk, driver, intent, grant, bare: await fixture.snapshot(), image, diskIntent });
    });
  } finally {
    for (const path of images) await rm(path);
  }
}

/** A disk's place is its own driver's. */
export function assertAddress({ guest }: DiskGrant, { driver, index }: DiskIntent): void {
  if (driver === "virtio-scsi") {
    assert.deepEqual(guest, { driver: "scsi", address: `${Math.floor(index / LUNS)}:${index % LUNS}` });
  } else {
    assert.equal(guest.driver, "blk");
    assert.match(guest.address, PCI_PATH);
  }
}

/** How the VM's process, where it is one, has a file open. */
export async function openFiles({ process }: VmGrant, path: string): Promise<readonly { readonly writable: boolean }[]> {
  if (!process) return [];
  const found = [];
  for (const fd of await readdir(`/proc/${process.pid}/fd`)) {
    if ((await readlink(`/proc/${process.pid}/fd/${fd}`).catch(() => "")) !== path) continue; // it may have been closed meanwhile
    const flags = /^flags:\s*([0-7]+)$/m.exec(await readFile(`/proc/${process.pid}/fdinfo/${fd}`, "utf8"))?.[1] ?? "0";
    found.push({ writable: (Number.parseInt(flags, 8) & ACCESS_MODE) !== 0 });
  }
  return found;
}

export async function onlyTheVmIsHeld({ fixture, bare }: DiskWorld): Promise<void> {
  assert.deepEqual(await fixture.snapshot(), bare, "something of the disk is left");
}
