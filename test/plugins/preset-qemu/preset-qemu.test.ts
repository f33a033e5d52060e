import { API_VERSION } from "tapvisor/plugin";
import presetQemu from "tapvisor/plugins/preset-qemu";
import * as assert from "uvu/assert";
import { SLOT_NAMES } from "../../../src/contracts/slots.ts";
import { providerNames } from "../../support/fake-guest.ts";
import { suite } from "../../support/suite.ts";

const s = suite("preset-qemu");

s.test("every slot is filled by a plugin of its own list, made for this API", async () => {
  assert.is(presetQemu.name, "qemu");
  const offered = new Set<string>();
  for (const plugin of presetQemu.plugins) {
    assert.is(plugin.apiVersion, API_VERSION);
    for (const name of await providerNames(plugin)) offered.add(name);
  }
  for (const slot of SLOT_NAMES) assert.ok(offered.has(`${slot}:${presetQemu.slots[slot]}`), slot);
});

s.run();
