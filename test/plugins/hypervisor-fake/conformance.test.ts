import type { Guest } from "tapvisor/plugin";
import { hypervisorFake } from "tapvisor/plugins/hypervisor-fake";
import { guestSuite, hypervisorSuite } from "tapvisor/testing";
import { providerOf } from "../../support/fake-guest.ts";
import { suite } from "../../support/suite.ts";
import { fakeHypervisorFixture } from "../../testing/support/fake-fixtures.ts";

const s = suite("hypervisor-fake conformance");

hypervisorSuite("hypervisor-fake", () => fakeHypervisorFixture(), { suite: s });

hypervisorSuite(
  "one that unplugs vCPUs",
  () => fakeHypervisorFixture((same) => same, { vcpuRemoval: "unplug", diskDrivers: ["virtio-blk"] }),
  {
    suite: s,
  },
);

hypervisorSuite(
  "one that can do nothing but boot",
  () =>
    fakeHypervisorFixture((same) => same, {
      pause: false,
      shareHotplug: false,
      resize: false,
      templates: false,
      snapshots: false,
      diskDrivers: [],
    }),
  { suite: s },
);

guestSuite(
  "guest none",
  async () => ({ guest: await providerOf<Guest>(hypervisorFake(), "guest", "none"), [Symbol.asyncDispose]: async () => {} }),
  { suite: s },
);

s.run();
