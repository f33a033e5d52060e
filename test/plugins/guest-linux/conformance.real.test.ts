import { homedir } from "node:os";
import { join } from "node:path";
import { guestLinux } from "tapvisor/plugins/guest-linux";
import { guestSuite, quietCall } from "tapvisor/testing";
import * as assert from "uvu/assert";
import { PluginHost } from "../../../src/engine/plugin-host.ts";
import { suite } from "../../support/suite.ts";

const s = suite("guest-linux conformance");

async function fixture() {
  const ours = process.getuid?.() === 0 ? "/var/cache/tapvisor" : join(homedir(), ".cache/tapvisor");
  const host = new PluginHost({ log: quietCall().log, root: "/nonexistent", cacheDirectory: process.env.TAPVISOR_CACHE ?? ours });
  await host.load([guestLinux()]);
  return { guest: await host.slots.get("guest", "linux"), [Symbol.asyncDispose]: () => host.close() };
}

guestSuite("guest-linux", fixture, { suite: { test: (name, body) => s.test(name, body, { timeoutMs: 180_000 }) } });

s.test(
  "it says that it drives virtio-mem devices",
  async () => {
    await using here = await fixture();
    assert.is((await here.guest.prepare(quietCall({ timeoutMs: 120_000 }))).virtioMem, true);
  },
  { timeoutMs: 180_000 },
);

s.run();
