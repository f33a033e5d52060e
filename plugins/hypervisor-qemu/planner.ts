import { statSync } from "node:fs";
import type { DiskIntent, HypervisorPlanner, PlannedCommand } from "tapvisor/plugin";
import type { Step } from "./device-steps.ts";
import { diskSteps } from "./disk-device.ts";
import type { DiskSource } from "./disk-source.ts";
import { sharePaths } from "./paths.ts";
import { planResize } from "./plan-resize.ts";
import { socketFor } from "./socket-for.ts";
import { shareSteps } from "./vhost-user.ts";

/**
 * The commands that a plug would run, from the functions that make them for it. Questions are left out: QEMU is asked for the slot of a
 * virtio-blk disk, which it chooses itself. A path's type is looked at where it exists, since QEMU opens a block device with another driver.
 */
export const qemuPlanner: HypervisorPlanner = {
  share: ({ vm, id, directory }) => commandsOf(shareSteps(id, socketFor(vm, sharePaths(directory).socket))),
  disk: (intent) => commandsOf(diskSteps(intent, kindOf(intent))),
  resize: planResize,
};

function commandsOf(steps: readonly Step[]): PlannedCommand[] {
  return steps.map(({ command }) => command);
}

function kindOf({ path }: DiskIntent): DiskSource["kind"] {
  const found = statSync(path, { throwIfNoEntry: false });
  return (found ? found.isBlockDevice() : path.startsWith("/dev/")) ? "host_device" : "file";
}
