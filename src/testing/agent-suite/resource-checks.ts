import assert from "node:assert/strict";
import type { CheckOn } from "../conformance/checks.ts";
import { failure, firedCall } from "../conformance/expect.ts";
import { quietCall } from "../quiet-call.ts";
import { refuses } from "./expect-status.ts";
import { type AgentFixture, type AgentWorld, withSandbox } from "./fixture.ts";

/** The vCPUs and the memory that the guest works with. */
export function resourceChecks(check: CheckOn<AgentFixture>): void {
  const checkIn = (behaviour: string, body: (world: AgentWorld) => Promise<void>) =>
    check(behaviour, (fixture) => withSandbox(fixture, body));
  /** Only for a guest that has the calls that Kata's has not. */
  const checkExtra = (behaviour: string, body: (world: AgentWorld) => Promise<void>) =>
    checkIn(behaviour, async (world) => {
      if (world.fixture.extras ?? true) await body(world);
    });

  checkIn("a guest that cannot say what it has, or that can, is told apart", async ({ fixture, client }) => {
    const found = await client.syncResources({}, quietCall());
    assert.equal(found !== undefined, fixture.extras ?? true, "syncResources() is undefined for a guest without such a call");
    if (!found) return;
    assert.equal(found.onlineVcpus, fixture.vcpus ?? 1);
    assert.ok(Number.isSafeInteger(found.memoryBytes) && found.memoryBytes > 0, `${found.memoryBytes} bytes`);
    assert.ok(Number.isSafeInteger(found.availableBytes) && found.availableBytes <= found.memoryBytes, `${found.availableBytes} bytes`);
    assert.equal((await client.syncResources({}, quietCall()))?.onlineVcpus, found.onlineVcpus, "asking changed something");
  });

  checkIn("onlineCpuMem() with nothing new resolves, as often as it is asked", async ({ fixture, client }) => {
    for (const cpuOnly of [true, true, false]) await client.onlineCpuMem({ vcpus: 0, cpuOnly }, quietCall());
    if (fixture.extras ?? true) assert.equal((await client.syncResources({}, quietCall()))?.onlineVcpus, fixture.vcpus ?? 1);
  });

  checkExtra("syncResources() runs on as many vCPUs as it is told, again and again, and parks the others", async (world) => {
    const { client, fixture } = world;
    const all = fixture.vcpus ?? 1;
    for (const vcpus of [all, 1, 1, all]) {
      assert.equal((await client.syncResources({ vcpus }, quietCall()))?.onlineVcpus, vcpus);
      assert.equal((await client.syncResources({}, quietCall()))?.onlineVcpus, vcpus);
    }
    assert.equal(await client.waitProcess(await world.run("web", ["true"]), quietCall()), 0);
  });

  checkExtra("a guest cannot run on no vCPU", async ({ client, fixture }) => {
    await refuses("syncResources() with 0 vCPUs", client.syncResources({ vcpus: 0 }, quietCall()));
    assert.equal((await client.syncResources({}, quietCall()))?.onlineVcpus, fixture.vcpus ?? 1);
  });

  checkExtra("syncResources() with a signal that has fired fails and changes nothing", async ({ client, fixture }) => {
    await failure("syncResources() with a fired signal", client.syncResources({ vcpus: 1 }, firedCall()));
    assert.equal((await client.syncResources({}, quietCall()))?.onlineVcpus, fixture.vcpus ?? 1);
  });
}
