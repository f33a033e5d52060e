import { randomBytes } from "node:crypto";
import type { AgentClient } from "tapvisor/plugin";
import { quietCall } from "tapvisor/testing";
import type { HandVm } from "./by-hand.ts";
import { alternate, type Phases, printPhases, printRatio, type Side, stopwatch, valuesOf } from "./measure.ts";
import { CONTAINER, firstLine, SANDBOX, type World } from "./world.ts";

/** From nothing to the first line of a clone's container, its files on a disk. The twin makes the same requests of QEMU and the agent, and keeps no books. */
export async function firstLines(world: World, rounds: number): Promise<void> {
  const bare: Side = {
    name: "bare",
    run: async () => {
      await using vm = await world.clone();
      await firstLineByHand(world, vm);
      return vm.phases;
    },
  };
  const engine: Side = { name: "engine", run: () => byEngine(world) };
  const results = await alternate(rounds, [bare, engine]);
  printPhases("clone to the first line of its container, ms", results);
  for (const end of ["renewed", "ready", "first line"])
    printRatio(end, valuesOf(results.get(engine), end), valuesOf(results.get(bare), end));
}

/** Resolves with the container's first line: by the agent's calls, and QMP's for the disk. */
export async function firstLineByHand(world: World, vm: HandVm): Promise<void> {
  const { asked, plugins } = world;
  const client = await readyByHand(world, vm);
  try {
    const commands = plugins.hypervisor.planner?.disk({ ...asked.disk, sandbox: "hand" }) ?? [];
    for (const { command, arguments: given } of commands) await vm.ask(command, given);
    await client.createContainer(asked.container, usualCall());
    vm.passed("container created");
    await Promise.all([client.startContainer(CONTAINER, usualCall()), firstOutput(client)]);
    vm.passed("first line");
  } finally {
    await client.close();
  }
}

/** Has the agent make a sandbox, as the engine does: the guest is where a sandbox is that is ready. The client is the caller's to close. */
export async function readyByHand({ plugins: { agent, transport } }: World, vm: HandVm): Promise<AgentClient> {
  const call = usualCall();
  const endpoint = { kind: "serial", path: `${vm.directory}/agent.sock` } as const;
  const client = await agent.connect({ sandbox: "hand", endpoint, transport, runDirectory: vm.directory, goesOn: true }, call);
  try {
    vm.passed("session answered");
    await client.identity?.renew({ entropy: randomBytes(64), machineId: randomBytes(16).toString("hex"), hostname: "hand" }, call);
    vm.passed("renewed");
    await Promise.all([client.guestDetails(call), client.createSandbox({ hostname: "hand", sandbox: "hand", storages: [] }, call)]);
    vm.passed("ready");
    return client;
  } catch (error) {
    await client.close();
    throw error;
  }
}

const usualCall = () => quietCall({ timeoutMs: 60_000 });

async function firstOutput(client: AgentClient): Promise<void> {
  const call = usualCall();
  const output = await client.openOutput?.({ container: CONTAINER, exec: CONTAINER }, "stdout", call);
  if (!output) throw new Error("the agent streams nothing");
  await output.read(call.signal);
  output.close();
}

async function byEngine({ engine, image, listen }: World): Promise<Phases> {
  const { phases, passed } = stopwatch();
  const names: Readonly<Record<string, string>> = { "connect-agent": "session answered", "renew-identity": "renewed" };
  listen(({ phase, step }) => {
    const name = phase === "after" ? names[step] : undefined;
    if (name) passed(name);
    if (phase === "after" && step === "create-guest-container") passed("container created");
  });
  try {
    await using sandbox = await engine.createSandbox(SANDBOX);
    passed("ready");
    await firstLine(sandbox, image);
    passed("first line");
  } finally {
    listen(undefined);
  }
  return phases;
}
