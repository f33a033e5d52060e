import type { DiskDriver, HypervisorPlanner } from "tapvisor/plugin";
import type { FakeWorld } from "tapvisor/testing";

export interface HypervisorFakeOptions {
  /** The world to act on; the process's shared one by default. */
  readonly world?: FakeWorld;
  /** VMs can be paused; `true` by default. */
  readonly pause?: boolean;
  /** Host directories can be shared with a running VM; `true` by default. */
  readonly shareHotplug?: boolean;
  /** VMs can grow and shrink; `true` by default. */
  readonly resize?: boolean;
  /** A VM can be saved as a template, and others go on from there; `true` by default. */
  readonly templates?: boolean;
  /** A VM can be saved whole, and another go on from there; `true` by default. */
  readonly snapshots?: boolean;
  /**
   * The guest can take on a new identity, so that sandboxes go on from templates by themselves; `false` by default, since a boot costs nothing here and a test
   * that counts calls wants no others.
   */
  readonly cloneable?: boolean;
  /** How disks are plugged in, the preferred way first; both by default, and with none no disk can be. */
  readonly diskDrivers?: readonly DiskDriver[];
  /** What becomes of a vCPU that is not wanted: `park` (the default) leaves it plugged, as QEMU's emulation must; `unplug` takes it away. */
  readonly vcpuRemoval?: "park" | "unplug";
  /** Whose commands a plan names; by default words of the fake's own. */
  readonly planner?: HypervisorPlanner;
}

/** The options with every default in its place, but for the world. */
export type Traits = Required<Omit<HypervisorFakeOptions, "world" | "planner">>;

export function traitsOf(options: HypervisorFakeOptions): Traits {
  const { pause = true, shareHotplug = true, resize = true, templates = true, snapshots = true, cloneable = false } = options;
  const { diskDrivers = ["virtio-scsi", "virtio-blk"], vcpuRemoval = "park" } = options;
  return { pause, shareHotplug, resize, templates, snapshots, cloneable, diskDrivers, vcpuRemoval };
}
