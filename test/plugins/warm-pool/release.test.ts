import { cp, readdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createEngine, type Engine } from "tapvisor";
import { presetFake } from "tapvisor/plugins/preset-fake";
import * as assert from "uvu/assert";
import type { SandboxRecord } from "../../../src/engine/record.ts";
import { suite } from "../../support/suite.ts";
import { POOL_SLOTS, type PoolEngine, poolEngine, poolPlugins } from "./support/pool-engine.ts";

const s = suite("warm pool: what a dead script has left");
const SANDBOX = { template: true } as const;

/**
 * The script dies: all that it held is put back as it was at that instant, once its engine has ended. Its VMs are dead, and so are the owners in the records and
 * in the names of the pool's directories.
 */
async function dies(
  { engine, world, state, directory }: PoolEngine,
  damage: (record: SandboxRecord) => unknown = (same) => same,
): Promise<void> {
  const records = state.ids().map((id) => [id, state.get(id) as unknown as SandboxRecord] as const);
  const intents = world.snapshot().vms.flatMap(({ sandbox }) => world.vm(sandbox)?.intent ?? []);
  const kept = join(directory, "kept");
  for (const each of ["run", "state"]) await cp(join(directory, "root", each), join(kept, each), { recursive: true });
  await engine.close();
  await cp(kept, join(directory, "root"), { recursive: true });
  for (const [id, record] of records) {
    const owner = record.owner && { ...record.owner, startTime: "0" };
    state.set(id, { ...(damage(record) as SandboxRecord), owner } as never);
  }
  for (const intent of intents) {
    world.startVm(intent);
    world.killVm(intent.sandbox);
  }
  const warm = join(directory, "root/state/warm");
  for (const name of await readdir(warm)) await rename(join(warm, name), join(warm, name.replace(/^\d+-\d+/, "4194304-1")));
}

function later({ world, state, directory }: PoolEngine): Promise<Engine> {
  const root = join(directory, "root");
  const templates = { directory: join(root, "templates") };
  const preset = presetFake({ world, state });
  return createEngine({ preset, root, templates, plugins: poolPlugins(), config: { slots: POOL_SLOTS } });
}

/** As a crash leaves it between taking a VM and writing down that it was granted. */
function withoutGrant(record: SandboxRecord): unknown {
  const holdings = record.holdings.map(({ grant, ...rest }) => (rest.kind === "vm" ? { ...rest, status: "pending" } : { ...rest, grant }));
  return { ...record, holdings };
}

for (const [what, damage] of [
  ["with its grant", undefined],
  ["by its intent alone", withoutGrant],
] as const) {
  s.test(`a VM that was handed out is given back ${what}, and those that waited with it`, async () => {
    await using w = await poolEngine();
    await w.engine.createSandbox(SANDBOX);
    await w.filled(2);
    await w.engine.createSandbox({ ...SANDBOX, id: "box" });
    await w.filled(2);
    await dies(w, damage);
    assert.is(w.world.snapshot().vms.length, 4);
    await using engine = await later(w);
    const { collected, failed } = await engine.gc();
    assert.equal([collected.length, failed], [2, []]);
    assert.equal(w.world.snapshot().vms, []);
    assert.equal(await w.places(), []);
    assert.equal((await engine.gc()).collected, []);
  });
}

s.test(
  "what a dead script has left is swept by the next pool, half-written records too, and what a live one has is not touched",
  async () => {
    await using w = await poolEngine();
    await w.engine.createSandbox(SANDBOX);
    await w.filled(2);
    await dies(w);
    const warm = join(w.directory, "root/state/warm");
    const [dead = ""] = await readdir(warm);
    await writeFile(join(warm, dead, "half.json"), '{"sandbox":');
    {
      await using engine = await later(w);
      await engine.gc();
      await using _ = await engine.createSandbox(SANDBOX);
    }
    assert.equal(w.world.snapshot().vms, []);
    assert.equal(await w.places(), []);

    await using living = await poolEngine();
    {
      await using _ = await living.engine.createSandbox(SANDBOX);
    }
    await living.filled(2);
    await using other = await later(living);
    await other.gc();
    assert.is(living.waiting().length, 2);
  },
);

s.run();
