import { definePlugin, type Hypervisor } from "tapvisor/plugin";
import { fingerprintOf } from "./fingerprint.ts";
import { diskHolding } from "./holdings-disk.ts";
import { shareHolding } from "./holdings-share.ts";
import { vmHolding } from "./holdings-vm.ts";
import { inspectHost } from "./inspect-host.ts";
import { type HypervisorQemuOptions, type QemuOptions, resolveOptions } from "./options.ts";
import { qemuPlanner } from "./planner.ts";
import { connectVm } from "./vm.ts";

export { findPanic } from "./diagnostics.ts";
export type { HypervisorQemuOptions } from "./options.ts";
export { qemuPlanner } from "./planner.ts";

/**
 * Provides the hypervisor `qemu`: virtual machines run by QEMU 7.2 or newer, with KVM where it really works.
 *
 * @throws INVALID_INPUT naming the option, when the plugin loads.
 */
export const hypervisorQemu = definePlugin<HypervisorQemuOptions>("hypervisor-qemu", (ctx, options) => {
  const resolved = resolveOptions(options);
  ctx.provide("hypervisor", "qemu", () => createQemu(resolved));
});

function createQemu(options: QemuOptions): Hypervisor {
  return {
    capabilities: {
      pause: true,
      shareHotplug: process.geteuid?.() === 0,
      resize: true,
      templates: options.user === undefined,
      snapshots: options.user === undefined,
      diskDrivers: ["virtio-scsi", "virtio-blk"],
    },
    inspectHost: (call) => inspectHost(options, call),
    fingerprint: (call) => fingerprintOf(options, call),
    connect: (grant) => connectVm(grant),
    holdings: { vm: vmHolding(options), share: shareHolding(options), disk: diskHolding },
    planner: qemuPlanner,
  };
}
