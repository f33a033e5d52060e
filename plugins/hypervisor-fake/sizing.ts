import type { VmSizing } from "tapvisor/plugin";
import type { FakeVm, FakeWorld } from "tapvisor/testing";
import type { Traits } from "./options.ts";

/** Grows and shrinks a VM. Memory moves with the guest's help: while it is paused, none does. */
export function sizing(world: FakeWorld, vm: FakeVm, { vcpuRemoval }: Traits, mustBeConnected: () => void): VmSizing {
  const subject = { sandbox: vm.intent.sandbox };
  const live = () => {
    mustBeConnected();
    vm.mustLive();
    return vm.size;
  };
  return {
    size: (call) =>
      world.perform("hypervisor.size", subject, call.signal, () => {
        const { vcpus, memoryBytes } = live();
        return { vcpus, memoryBytes };
      }),
    resizeVcpus: (target, call) =>
      world.perform("hypervisor.resizeVcpus", subject, call.signal, () => live().resizeVcpus(target, { keep: vcpuRemoval === "park" })),
    resizeMemory(target, call) {
      const shrinks = target < vm.size.memoryBytes;
      const work = () => vm.whenRunning(call.signal, () => live().resizeMemory(target));
      const givenUp = () => live().shrunkSoFar(target);
      return world.perform("hypervisor.resizeMemory", subject, call.signal, work, shrinks ? givenUp : undefined);
    },
  };
}
