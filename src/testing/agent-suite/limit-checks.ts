import assert from "node:assert/strict";
import { MiB } from "../../base/units.ts";
import type { AgentClient } from "../../contracts/agent.ts";
import type { ContainerStats } from "../../contracts/stats.ts";
import type { CheckOn } from "../conformance/checks.ts";
import { begun, eventually, failure, firedCall } from "../conformance/expect.ts";
import { quietCall } from "../quiet-call.ts";
import { refuses } from "./expect-status.ts";
import { type AgentFixture, type AgentWorld, unlessIdle, withSandbox } from "./fixture.ts";

/** A program that uses the CPU as long as it runs. */
const BUSY = ["sh", "-c", "while :; do :; done"];

/** A period of 1 µs: no kernel takes it. */
const IMPOSSIBLE = { quota: 1, period: 1 };

/** The limits of containers, and what they have used. */
export function limitChecks(check: CheckOn<AgentFixture>): void {
  const checkIn = (behaviour: string, body: (world: AgentWorld) => Promise<void>) =>
    check(behaviour, (fixture) => withSandbox(fixture, body));

  for (const started of [false, true]) {
    const moment = started ? "that runs" : "that has not been started";
    checkIn(`limits of a container ${moment} are set part by part; what is absent stays, -1 takes one away`, async (world) => {
      const { client } = world;
      await (started ? world.run : world.create)("web", ["sleep", "60"]);
      await client.updateContainer("web", { memory: { limit: 64 * MiB }, pids: { limit: 32 } }, quietCall());
      await hasLimits(client, { memory: 64 * MiB, pids: 32 });
      await client.updateContainer("web", { pids: { limit: 16 } }, quietCall());
      await hasLimits(client, { memory: 64 * MiB, pids: 16 });
      await client.updateContainer("web", { cpu: { quota: 50_000, period: 100_000 } }, quietCall());
      await client.updateContainer("web", {}, quietCall());
      await hasLimits(client, { memory: 64 * MiB, pids: 16 });
      await client.updateContainer("web", { memory: { limit: -1 }, pids: { limit: -1 } }, quietCall());
      await hasLimits(client, { memory: undefined, pids: undefined });
    });
  }

  checkIn("an update that cannot be made in full is refused and changes nothing", async ({ client, run }) => {
    await run("web", ["sleep", "60"]);
    await client.updateContainer("web", { memory: { limit: 64 * MiB }, pids: { limit: 32 } }, quietCall());
    const change = { memory: { limit: 128 * MiB }, pids: { limit: 7 }, cpu: IMPOSSIBLE };
    await refuses("updateContainer() with an impossible part", client.updateContainer("web", change, quietCall()));
    await hasLimits(client, { memory: 64 * MiB, pids: 32 });
  });

  checkIn("updateContainer() with a signal that has fired fails and changes nothing", async ({ client, run }) => {
    await run("web", ["sleep", "60"]);
    await client.updateContainer("web", { pids: { limit: 32 } }, quietCall());
    await failure("updateContainer() with a fired signal", client.updateContainer("web", { pids: { limit: 7 } }, firedCall()));
    await hasLimits(client, { memory: undefined, pids: 32 });
  });

  checkIn("stats can be asked for before the start, while it runs, and after the end, and are in bounds", async (world) => {
    const { client, create } = world;
    const process = await create("web", ["cat"]);
    assertStats(await client.statsContainer("web", quietCall()));
    await client.startContainer("web", quietCall());
    const running = await client.statsContainer("web", quietCall());
    assertStats(running);
    assert.ok(running.pids.current >= 1, `${running.pids.current} processes`);
    assert.ok(running.memory.usage.bytes > 0, "a running process uses memory");
    await client.closeStdin(process, quietCall());
    await client.waitProcess(process, quietCall());
    const ended = await client.statsContainer("web", quietCall());
    assertStats(ended);
    assert.ok(ended.cpu.totalUs >= running.cpu.totalUs, "the CPU time went back");
    assert.equal(ended.pids.current, 0);
  });

  checkIn("a busy container's CPU time grows, but not while it is paused", async ({ client, run }) => {
    const process = await run("busy", BUSY);
    const totalUs = async (container: string) => (await client.statsContainer(container, quietCall())).cpu.totalUs;
    const first = await totalUs("busy");
    await eventually("CPU time of a busy container", async () => (await totalUs("busy")) > first);
    await client.pauseContainer("busy", quietCall());
    const paused = await totalUs("busy");
    assert.equal(await unlessIdle(begun(client.waitProcess(process, quietCall()))), undefined);
    assert.equal(await totalUs("busy"), paused, "a paused container used CPU time");
    await client.resumeContainer("busy", quietCall());
    await eventually("CPU time of a resumed container", async () => (await totalUs("busy")) > paused);
  });
}

async function hasLimits(client: AgentClient, limits: { readonly memory: number | undefined; readonly pids: number | undefined }) {
  const { memory, pids } = await client.statsContainer("web", quietCall());
  assert.deepEqual({ memory: memory.usage.limitBytes, pids: pids.limit }, limits);
}

/** Every number is a count: whole, not negative, and not more than a number holds. */
function assertStats(stats: ContainerStats): void {
  const look = (path: string, value: unknown): void => {
    if (typeof value === "number") assert.ok(Number.isSafeInteger(value) && value >= 0, `${path} is ${value}`);
    else if (typeof value === "object" && value !== null) {
      for (const [key, each] of Object.entries(value)) look(`${path}.${key}`, each);
    }
  };
  look("stats", stats);
  for (const part of [stats.cpu.totalUs, stats.memory.usage.bytes, stats.memory.oomKills, stats.pids.current]) {
    assert.equal(typeof part, "number");
  }
}
