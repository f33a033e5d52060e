import { definePlugin } from "tapvisor/plugin";
import { type FakeWorld, sharedFakeWorld } from "tapvisor/testing";
import { noGuest } from "./no-guest.ts";
import { shareHolding } from "./share-holding.ts";
import { vmHolding } from "./vm-holding.ts";
import { liveVm, vmView } from "./vm-view.ts";

export interface HypervisorFakeOptions {
  /** The world to act on; the process's shared one by default. */
  readonly world?: FakeWorld;
}

/** VMs in memory, whose whole world can be inspected and made to fail. Hypervisor `fake`, and guest `none`: there is nothing to boot. */
export const hypervisorFake = definePlugin<HypervisorFakeOptions>("hypervisor-fake", (ctx, { world = sharedFakeWorld() }) => {
  ctx.provide("hypervisor", "fake", () => ({
    capabilities: { pause: true, shareHotplug: true },
    inspectHost: (call) =>
      world.perform("hypervisor.inspectHost", {}, call.signal, () => [
        { check: "hypervisor", level: "ok", found: "a fake one, in memory" },
      ]),
    async connect(grant, call) {
      const connected = world.perform("hypervisor.connect", { sandbox: grant.sandbox }, call.signal, () => liveVm(world, grant));
      return vmView(world, await connected);
    },
    holdings: { vm: vmHolding(world), share: shareHolding(world) },
  }));
  ctx.provide("guest", "none", () => noGuest(world));
});
