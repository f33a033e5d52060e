/** One of several processes that work on one root at once. Its argument is a JSON `Task`; it prints `done` and what it saw as JSON. */
import { createEngine, isTapvisorError, type Sandbox } from "tapvisor";

export interface Task {
  readonly root: string;
  readonly rootfs: string;
  readonly name: string;
  /** `own`: sandboxes of its own; `shared`: attaches to `shared`, works in it and lets go; `hold`: attaches and keeps it; `gc`: collects. */
  readonly work: "own" | "shared" | "hold" | "gc";
  readonly rounds: number;
}

const { root, rootfs, name, work, rounds } = JSON.parse(process.argv[2] ?? "") as Task;
const saw = { locked: 0, collected: [] as string[], kept: [] as string[] };

for (let round = 0; round < rounds; round++) {
  await using engine = await createEngine({ root });
  const collect = async () => {
    const { collected, kept, failed, corrupt } = await engine.gc();
    saw.collected.push(...collected);
    saw.kept.push(...kept);
    if (failed.length + corrupt.length > 0) throw new Error(JSON.stringify({ failed, corrupt }));
  };
  if (work === "gc") {
    console.log("ready");
    await new Promise<void>((resolve) => process.stdin.once("data", () => resolve()));
    await collect();
  } else if (work === "own") {
    await using sandbox = await engine.runSandbox({ id: name });
    await Promise.all([useIt(sandbox, round), collect()]);
    const mine = (await engine.list()).find(({ id }) => id === name);
    if (mine?.state !== "running" || mine.owner !== process.pid) throw new Error(JSON.stringify(mine));
  } else {
    const sandbox = await attach(engine);
    await Promise.all([useIt(sandbox, round), collect()]);
    if (work === "hold") {
      console.log("holding");
      await new Promise(() => setInterval(() => {}, 1_000));
    }
  }
}
console.log(`done ${JSON.stringify(saw)}`);
process.exit(0);

async function useIt(sandbox: Sandbox, round: number): Promise<void> {
  for (const id of ["web", "web", `${name}-${round}`]) {
    const container = await sandbox.run({ id, rootfs, command: ["sh", "-c", `echo ${name}-${round}; exit 3`] });
    const text = await container.stdout.text();
    const { exitCode } = await container.wait();
    if (text !== `${name}-${round}\n` || exitCode !== 3) throw new Error(`wrote ${JSON.stringify(text)}, exit code ${exitCode}`);
    await container.delete();
  }
}

/** Nothing tells a process when another lets go of a sandbox. */
async function attach(engine: Awaited<ReturnType<typeof createEngine>>): Promise<Sandbox> {
  for (;;) {
    try {
      return await engine.sandbox("shared");
    } catch (error) {
      if (!isTapvisorError(error) || error.code !== "LOCKED") throw error;
      saw.locked++;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
}
