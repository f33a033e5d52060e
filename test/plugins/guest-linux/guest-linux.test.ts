import * as assert from "uvu/assert";
import { guestLinux } from "../../../plugins/guest-linux/index.ts";
import type { Guest } from "../../../src/contracts/guest.ts";
import type { PluginContext } from "../../../src/engine/define-plugin.ts";
import { suite } from "../../support/suite.ts";
import { tempDirectory } from "../../support/temp.ts";
import { call, failureOf } from "./fixtures.ts";

const s = suite("guest-linux plugin");

/** Loads the plugin and makes its provider. */
async function load(options: object, cacheDirectory = "/nonexistent"): Promise<{ slot: string; name: string; guest: Guest }> {
  const offers: { slot: string; name: string; make: () => Guest }[] = [];
  const provide = (slot: string, name: string, make: () => Guest) => offers.push({ slot, name, make });
  await guestLinux(options).apply({ cacheDirectory, provide } as unknown as PluginContext);
  const [offer] = offers;
  if (offer === undefined || offers.length > 1) throw new Error(`wanted one provider, got ${offers.length}`);
  return { ...offer, guest: offer.make() };
}

s.test("it provides the guest linux", async () => {
  const { slot, name } = await load({});
  assert.equal([slot, name], ["guest", "linux"]);
});

s.test("options of another kind or name are INVALID_INPUT naming the field", async () => {
  for (const [options, field] of [
    [{ kernel: 1 }, "kernel"],
    [{ modules: "" }, "modules"],
    [{ kernal: "/boot/vmlinuz" }, "kernal"],
  ] as const) {
    const error = await failureOf(load(options));
    assert.is(error.code, "INVALID_INPUT");
    assert.match(error.message, field);
  }
});

s.test("a kernel that does not exist fails prepare() before anything is built, and is a finding", async () => {
  await using temp = await tempDirectory();
  const { guest } = await load({ kernel: "/nonexistent/vmlinuz", modules: temp.path }, temp.path);
  const error = await failureOf(guest.prepare(call()));
  assert.is(error.code, "INVALID_INPUT");
  assert.match(error.message, "/nonexistent/vmlinuz");
  const kernel = (await guest.inspectHost(call())).find(({ check }) => check === "guest kernel");
  assert.is(kernel?.level, "missing");
});

s.run();
