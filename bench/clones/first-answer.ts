import { randomBytes } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { StepEvent } from "tapvisor";
import { quietCall } from "tapvisor/testing";
import { alternate, type Phases, printHead, printPhases, printRatio, printRow, type Side, stopwatch, valuesOf } from "./measure.ts";
import { SANDBOX, type World } from "./world.ts";

/** From nothing to the first answer of a clone's agent: by hand, through the plugins alone, and through the engine. */
export async function firstAnswer(world: World, rounds: number): Promise<void> {
  const bare: Side = { name: "bare", run: () => byHand(world) };
  const plugins: Side = { name: "plugins", run: (round) => byPlugins(world, `plugins-${round}`) };
  const took: Phases[] = [];
  const engine: Side = {
    name: "engine",
    run: async () => {
      const { ends, steps } = await byEngine(world);
      took.push(steps);
      return ends;
    },
  };
  const results = await alternate(rounds, [bare, plugins, engine]);
  printPhases("clone to the first answer: since the start of QEMU, or the call of createSandbox, ms", results);
  printHead("the engine's steps: what each took, ms", "step");
  for (const step of Object.keys(took[0] ?? {})) printRow(step, valuesOf(took, step));
  const renewed = valuesOf(results.get(bare), "renewed");
  printRatio("plugins, first answer", valuesOf(results.get(plugins), "renewed"), renewed);
  printRatio("engine, first answer", valuesOf(results.get(engine), "renew-identity"), renewed);
}

async function byHand(world: World): Promise<Phases> {
  await using vm = await world.clone();
  await vm.renew();
  return vm.phases;
}

async function byPlugins({ plugins: { hypervisor, agent, transport }, asked, directory }: World, sandbox: string): Promise<Phases> {
  const call = quietCall({ timeoutMs: 60_000 });
  const runDirectory = join(directory, sandbox);
  await mkdir(runDirectory, { mode: 0o700 });
  const intent = { ...asked.vm, sandbox, nonce: randomBytes(16).toString("hex"), runDirectory };
  const { phases, passed } = stopwatch();
  try {
    const grant = await hypervisor.holdings.vm.acquire(intent, call);
    passed("VM runs");
    const client = await agent.connect({ sandbox, endpoint: grant.agentEndpoint, transport, runDirectory, goesOn: true }, call);
    passed("session answered");
    await client.identity?.renew({ entropy: randomBytes(64), machineId: randomBytes(16).toString("hex"), hostname: sandbox }, call);
    passed("renewed");
    await client.close();
  } finally {
    await hypervisor.holdings.vm.release({ intent, grant: undefined }, call);
  }
  return phases;
}

/** When each step ended, and how long it took. */
async function byEngine({ engine, listen }: World): Promise<{ readonly ends: Phases; readonly steps: Phases }> {
  const began = new Map<string, number>();
  const steps: Phases = {};
  const { phases: ends, passed } = stopwatch();
  listen(({ phase, step, operation }: StepEvent) => {
    if (operation !== "create sandbox") return;
    if (phase === "before") began.set(step, performance.now());
    if (phase !== "after") return;
    steps[step] = performance.now() - (began.get(step) ?? Number.NaN);
    passed(step);
  });
  try {
    await using _sandbox = await engine.createSandbox(SANDBOX);
    passed("ready");
  } finally {
    listen(undefined);
  }
  return { ends, steps };
}
