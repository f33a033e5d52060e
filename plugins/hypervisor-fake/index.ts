import { definePlugin, type HypervisorCapabilities } from "tapvisor/plugin";
import { sharedFakeWorld } from "tapvisor/testing";
import { diskHolding } from "./disk-holding.ts";
import { noGuest } from "./no-guest.ts";
import { type HypervisorFakeOptions, type Traits, traitsOf } from "./options.ts";
import { fakePlanner } from "./planner.ts";
import { shareHolding } from "./share-holding.ts";
import { vmHolding } from "./vm-holding.ts";
import { liveVm, vmView } from "./vm-view.ts";

export type { HypervisorFakeOptions } from "./options.ts";

/** VMs in memory, whose whole world can be inspected and made to fail. Hypervisor `fake`, and guest `none`: there is nothing to boot. */
export const hypervisorFake = definePlugin<HypervisorFakeOptions>(
  "hypervisor-fake",
  (ctx, { world = sharedFakeWorld(), planner = fakePlanner, ...options }) => {
    const traits = traitsOf(options);
    ctx.provide("hypervisor", "fake", () => ({
      capabilities: capabilitiesOf(traits),
      inspectHost: (call) =>
        world.perform("hypervisor.inspectHost", {}, call.signal, () => [
          { check: "hypervisor", level: "ok", found: "a fake one, in memory" },
        ]),
      ...(traits.templates || traits.snapshots
        ? { fingerprint: (call) => world.perform("hypervisor.fingerprint", {}, call.signal, () => world.fingerprint) }
        : {}),
      async connect(grant, call) {
        const connected = world.perform("hypervisor.connect", { sandbox: grant.sandbox }, call.signal, () => liveVm(world, grant));
        return vmView(world, await connected, traits);
      },
      holdings: {
        vm: vmHolding(world, traits),
        ...(traits.shareHotplug ? { share: shareHolding(world) } : {}),
        ...(traits.diskDrivers.length > 0 ? { disk: diskHolding(world, traits.diskDrivers) } : {}),
      },
      planner,
    }));
    ctx.provide("guest", "none", () => noGuest(world, traits.cloneable));
  },
);

function capabilitiesOf({ diskDrivers, vcpuRemoval: _, cloneable: __, ...capabilities }: Traits): HypervisorCapabilities {
  return { ...capabilities, ...(diskDrivers.length > 0 ? { diskDrivers } : {}) };
}
