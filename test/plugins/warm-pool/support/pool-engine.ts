import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { definePlugin } from "tapvisor/plugin";
import { type WarmPoolOptions, warmPool } from "tapvisor/plugins/warm-pool";
import type { FakeWorld } from "tapvisor/testing";
import { type FakeEngine, type FakeEngineOptions, fakeEngine } from "../../../support/fake-engine.ts";

/** The fakes' guest, which can take on a new identity. */
const cloneableGuest = definePlugin("cloneable-guest", (ctx) => {
  ctx.provide("guest", "cloneable", async () => {
    const guest = await ctx.use("guest", "none");
    return {
      inspectHost: (call) => guest.inspectHost(call),
      prepare: async (call) => ({ ...(await guest.prepare(call)), cloneable: true }),
    };
  });
});

export const POOL_SLOTS = { hypervisor: "warm-pool", guest: "cloneable" } as const;

export const poolPlugins = (options: WarmPoolOptions = {}) => [cloneableGuest(), warmPool({ over: "fake", ...options })];

export interface PoolEngine extends FakeEngine {
  /** The names that the waiting VMs have in the world, in the order in which they are handed out. */
  waiting(): readonly string[];
  /** Resolves when so many wait and no other is being started. */
  filled(count: number): Promise<void>;
  /** How many VMs have been started from the template so far, and by whom. */
  started(): readonly string[];
  /** What pools keep on the disk. */
  places(): Promise<readonly string[]>;
  /** Each time a sandbox has come up, before the pool hears of it. */
  readonly taps: { onUp: () => void };
}

/** An engine on the fakes whose template has been built and whose VMs come from a pool. */
export async function poolEngine(pool: WarmPoolOptions = {}, options: FakeEngineOptions = {}): Promise<PoolEngine> {
  const taps = { onUp: () => {} };
  const first = definePlugin("first", (ctx) => ctx.hooks.afterCreate.tapPromise({ stage: -1 }, async () => taps.onUp()));
  const plugins = [...poolPlugins(pool), first(), ...(options.plugins ?? [])];
  const base = await fakeEngine({ templates: true, slots: POOL_SLOTS, ...options, plugins });
  const { world, engine, directory } = base;
  await engine.buildTemplate();
  const built = acquisitions(world).length;
  const waiting = () => waitingIn(world);
  return Object.assign(base, {
    waiting,
    started: () => acquisitions(world).slice(built),
    filled: (count: number) => until(() => waiting().length === count && settled(world)),
    places: async () => (await readdir(join(directory, "root/state/warm"), { recursive: true }).catch(() => [])).sort(),
    taps,
  });
}

/** The VMs of the pool that stand still: those that nobody has. */
function waitingIn(world: FakeWorld): readonly string[] {
  const paused = world.snapshot().vms.filter(({ sandbox, state }) => sandbox.startsWith("warm-") && state === "paused");
  const names = new Set(paused.map(({ sandbox }) => sandbox));
  return acquisitions(world).filter((name) => names.has(name));
}

function acquisitions(world: FakeWorld): readonly string[] {
  return world.calls.filter(({ operation }) => operation === "hypervisor.vm.acquire").map(({ sandbox = "" }) => sandbox);
}

function settled(world: FakeWorld): boolean {
  return world.calls.every(({ outcome }) => outcome !== "pending");
}

/** Looks again and again for what nothing announces; the test's own deadline ends it. */
export async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await delay(2, undefined, { ref: false });
}
