import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { mkdir, rm, truncate, writeFile } from "node:fs/promises";
import { createServer, type Socket } from "node:net";
import { dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import type { AgentTarget, VmIntent } from "tapvisor/plugin";
import { quietCall } from "tapvisor/testing";
import { CAPABILITIES, type HandVm } from "./by-hand.ts";
import { alternate, printPhases, printRatio, type Side, stopwatch, valuesOf } from "./measure.ts";
import { argvOf, type World } from "./world.ts";

/** From the order to stop to the whole state in its file: two VMs of one command line, each saved and let go on again and again. */
export async function saves({ asked, plugins, directory, twin }: World, rounds: number): Promise<void> {
  const { hypervisor, agent, transport } = plugins;
  const call = quietCall({ timeoutMs: 300_000 });
  const answers = async (runDirectory: string, path: string) => {
    const target: AgentTarget = { sandbox: "saved", endpoint: { kind: "serial", path }, transport, runDirectory, goesOn: false };
    const client = await agent.connect(target, call);
    await client.close();
  };
  const { memory } = asked.vm;
  if (memory?.kind !== "clone") throw new Error("the sandbox is no clone");
  const files = ["ours", "bare"].map((name) => join(dirname(memory.file), `bench-${name}.memory`));
  const [ours = "", bares = ""] = files;
  const runDirectory = join(directory, "saved");
  const intent: VmIntent = {
    ...asked.vm,
    sandbox: "saved",
    nonce: randomBytes(16).toString("hex"),
    runDirectory,
    memory: { kind: "template", file: ours },
  };
  const states = join(dirname(memory.file), "bench.state");
  try {
    await mkdir(runDirectory, { mode: 0o700 });
    for (const file of files) {
      await writeFile(file, "", { mode: 0o600 });
      await truncate(file, asked.vm.memoryBytes);
    }
    const grant = await hypervisor.holdings.vm.acquire(intent, call);
    const vm = await hypervisor.connect(grant, call);
    const argv = argvOf(grant.process?.pid ?? Number.NaN).map((word) => word.replaceAll(ours, bares));
    await using hand = await twin(argv, intent);
    await Promise.all([
      answers(runDirectory, join(runDirectory, "agent.sock")),
      answers(hand.directory, join(hand.directory, "agent.sock")),
    ]);
    const engine: Side = {
      name: "Tapvisor",
      run: async () => {
        const { phases, passed } = stopwatch();
        await vm.save?.(states, call);
        passed("saved");
        await rm(states);
        await vm.resume(call);
        return phases;
      },
    };
    const bare: Side = { name: "bare", run: () => saveByHand(hand, states) };
    const results = await alternate(rounds, [bare, engine]);
    printPhases("save of a template, from the order to stop on, ms", results);
    printRatio("save", valuesOf(results.get(engine), "saved"), valuesOf(results.get(bare), "saved"));
    await vm.disconnect();
  } finally {
    await hypervisor.holdings.vm.release({ intent, grant: undefined }, call);
    for (const file of [...files, states]) await rm(file, { force: true });
  }
}

async function saveByHand({ qmp, ask, directory }: HandVm, file: string): Promise<ReturnType<typeof stopwatch>["phases"]> {
  const { phases, passed } = stopwatch();
  const path = join(directory, "state.sock");
  await ask("stop");
  passed("stopped");
  await ask("migrate-set-capabilities", CAPABILITIES);
  const server = createServer();
  server.listen(path);
  const connected = once(server, "connection");
  const saved = qmp.next((line) => line.includes('"completed"'));
  await ask("migrate", { uri: `unix:${path}` });
  const [socket] = (await connected) as [Socket];
  await Promise.all([pipeline(socket, createWriteStream(file)), saved]);
  passed("saved");
  server.close();
  await rm(file);
  await ask("cont");
  return phases;
}
