import { definePlugin, validate } from "tapvisor/plugin";
import { z } from "zod";
import { warmHypervisor } from "./hypervisor.ts";
import { Pool } from "./pool.ts";
import { sweepDead } from "./sweep-dead.ts";

/** What `warmPool()` takes. */
export interface WarmPoolOptions {
  /** How many VMs wait, 1 to 64; 2 by default. Each holds memory: see the README. */
  readonly size?: number;
  /** The hypervisor whose VMs they are, by its provider's name; `qemu` by default. */
  readonly over?: string;
}

const NAME = "warm-pool";

const SIZE = "wanted a whole number from 1 to 64";
const OVER = `wanted the name of a hypervisor's provider, another one than "${NAME}"`;

const SCHEMA = z.strictObject({
  size: z.int(SIZE).min(1, SIZE).max(64, SIZE).default(2),
  over: z
    .string(OVER)
    .min(1, OVER)
    .refine((name) => name !== NAME, OVER)
    .default("qemu"),
});

/**
 * Provides the hypervisor `warm-pool`: another one, of which some VMs wait that have gone on from the template already. A sandbox that goes on from it takes one.
 *
 * @throws INVALID_INPUT naming the option, when the plugin loads.
 */
export const warmPool = definePlugin<WarmPoolOptions>(NAME, (ctx, options) => {
  const { size, over: name } = validate(SCHEMA, options, NAME);
  const { stateDirectory, log } = ctx;
  const over = () => ctx.use("hypervisor", name);
  let pool: Pool | undefined;
  ctx.provide("hypervisor", NAME, async () => {
    const hypervisor = await over();
    pool = new Pool({
      host: { hypervisor, agent: () => ctx.use("agent"), transport: () => ctx.use("transport") },
      size,
      stateDirectory,
      log,
    });
    pool.sweep();
    return warmHypervisor(hypervisor, pool);
  });
  // Until all of a sandbox is there its VM is not the only thing that wants the processor.
  ctx.hooks.afterCreate.tapPromise(async ({ sandbox, container }) => void (container === undefined && pool?.isUp(sandbox)));
  ctx.hooks.afterStart.tapPromise(async ({ sandbox, container }) => void (container === undefined && pool?.isUp(sandbox)));
  ctx.onGc(async (call) => {
    await pool?.tryAgain();
    await sweepDead(stateDirectory, over, call);
  });
  ctx.onClose(async () => pool?.close());
});

export default warmPool;
