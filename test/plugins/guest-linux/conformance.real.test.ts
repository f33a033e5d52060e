import { homedir } from "node:os";
import { join } from "node:path";
import { guestLinux } from "tapvisor/plugins/guest-linux";
import { guestSuite, quietCall } from "tapvisor/testing";
import { PluginHost } from "../../../src/engine/plugin-host.ts";
import { suite } from "../../support/suite.ts";

const s = suite("guest-linux conformance");

guestSuite(
  "guest-linux",
  async () => {
    const ours = process.getuid?.() === 0 ? "/var/cache/tapvisor" : join(homedir(), ".cache/tapvisor");
    const host = new PluginHost({ log: quietCall().log, root: "/nonexistent", cacheDirectory: process.env.TAPVISOR_CACHE ?? ours });
    await host.load([guestLinux()]);
    return { guest: await host.slots.get("guest", "linux"), [Symbol.asyncDispose]: () => host.close() };
  },
  { suite: { test: (name, body) => s.test(name, body, { timeoutMs: 180_000 }) } },
);

s.run();
