// Measures the engine against bare QEMU in the same run: same kernel, same image, same command line. Ratios carry over, times do not.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { createEngine, type Sandbox } from "tapvisor";
import { presetFake } from "tapvisor/plugins/preset-fake";
import { FakeWorld } from "tapvisor/testing";
import { Bench } from "tinybench";
import { makeExampleRootfs } from "../scripts/example-rootfs.ts";
import { BareVm, parts } from "./bare.ts";
import { rawPortSpeeds } from "./raw-port.ts";
import { median } from "./timing.ts";

const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 5);
const MEMORY = 512 * 2 ** 20;
const OUTPUT_MEGABYTES = 64;

const directory = await mkdtemp(join(tmpdir(), "tv-bench-"));
const root = join(directory, "root");
const rootfs = join(directory, "rootfs");
makeExampleRootfs(rootfs);
const shared = await parts();
const rows: { row: string; bare?: string; tapvisor: string; ratio?: string; note: string }[] = [];
const rates: number[] = [];
const loadBefore = loadavg()[0];

try {
  await boots();
  await scriptStart();
  await insideOneVm();
  await engineOverhead();
  await raw();
} finally {
  await rm(directory, { recursive: true, force: true });
}

console.log(`\n${shared.accelerator}, ${ROUNDS} rounds, load ${loadBefore?.toFixed(1)} before and ${loadavg()[0]?.toFixed(1)} after\n`);
console.log("| row | bare QEMU | Tapvisor | ratio | note |\n|---|---|---|---|---|");
for (const { row, bare, tapvisor, ratio, note } of rows) console.log(`| ${row} | ${bare ?? ""} | ${tapvisor} | ${ratio ?? ""} | ${note} |`);

/** Cold boot to the agent's first answer, the two interleaved so that a busy moment hits both. */
async function boots(): Promise<void> {
  const bench = new Bench({ iterations: ROUNDS, time: 0, warmup: false, concurrency: null });
  const bare: number[] = [];
  const engine: number[] = [];
  bench.add("pair", async () => {
    bare.push(await timed(bareBoot));
    engine.push(await timed(engineBoot));
  });
  await bench.run();
  rows.push({
    row: "cold boot to the agent's first answer",
    bare: ms(bare),
    tapvisor: ms(engine),
    ratio: (median(engine) / median(bare)).toFixed(2),
    note: "median (min to max)",
  });
}

async function bareBoot(stop: () => void): Promise<void> {
  await using vm = await BareVm.start(shared, MEMORY);
  const client = await vm.firstAnswer(shared);
  stop();
  await client.close();
}

/** `connect-agent` done is the agent's first answer; the guest's sandbox comes after it. */
async function engineBoot(stop: () => void): Promise<void> {
  const probe = ({ phase, step }: { phase: string; step: string }) => {
    if (phase === "after" && step === "connect-agent") stop();
  };
  await using engine = await createEngine({ root, probe, templates: false });
  await using _sandbox = await engine.createSandbox({ memory: MEMORY });
}

/** From the start of a script's process to the first line of its container. */
async function scriptStart(): Promise<void> {
  const file = join(directory, "script.mts");
  await writeFile(
    file,
    `import { createEngine } from "tapvisor";
await using engine = await createEngine({ root: ${JSON.stringify(root)}, templates: false });
await using sandbox = await engine.runSandbox();
const container = await sandbox.run({ rootfs: ${JSON.stringify(rootfs)}, command: ["echo", "first line"] });
for await (const line of container.stdout.lines()) console.log(line);
console.error(JSON.stringify({ rss: process.memoryUsage().rss }));
`,
  );
  const bare: number[] = [];
  const script: number[] = [];
  const memory: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    bare.push(await timed(bareBoot));
    script.push(
      await timed(async (stop) => {
        const child = spawn(process.execPath, [join(import.meta.dirname, "../dist/src/cli/main.js"), "run", file], {
          stdio: ["ignore", "pipe", "pipe"],
        });
        createInterface({ input: child.stdout }).once("line", stop);
        createInterface({ input: child.stderr }).on("line", (line) => line.startsWith("{") && memory.push(JSON.parse(line).rss));
        await once(child, "close");
      }),
    );
  }
  rows.push({
    row: "script start to its container's first line",
    bare: ms(bare),
    tapvisor: ms(script),
    ratio: (median(script) / median(bare)).toFixed(2),
    note: "bare: boot to the agent's first answer only",
  });
  rows.push({ row: "memory of the script's process", tapvisor: mib(median(memory)), note: "RSS: Node, engine, gRPC client, one sandbox" });
}

async function insideOneVm(): Promise<void> {
  await using engine = await createEngine({ root, templates: false });
  await using sandbox = await engine.runSandbox({ memory: MEMORY });
  const { MemTotal = 0, MemAvailable = 0 } = await meminfo(sandbox);
  rows.push({
    row: "guest memory left for containers",
    bare: mib(MEMORY),
    tapvisor: mib(MemAvailable),
    ratio: (MemAvailable / MEMORY).toFixed(2),
    note: `of what the VM was given; its kernel sees ${mib(MemTotal)}`,
  });

  const cycles: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    cycles.push(
      await timed(async (stop) => {
        const container = await sandbox.run({ rootfs, command: ["echo", "x"] });
        for await (const _ of container.stdout.lines()) stop();
        await container.wait();
        await container.delete();
      }),
    );
  }
  rows.push({
    row: "create and start of a container to its first line, VM warm",
    tapvisor: ms(cycles),
    note: "2 round trips: CreateContainer, and StartContainer with the output behind it",
  });
  rates.push(await stdoutSpeed(sandbox));
}

async function stdoutSpeed(sandbox: Sandbox): Promise<number> {
  const container = await sandbox.run({ rootfs, command: ["dd", "if=/dev/zero", "bs=64k", `count=${OUTPUT_MEGABYTES * 16}`] });
  let bytes = 0;
  let first = 0;
  for await (const chunk of container.stdout) {
    if (first === 0) first = performance.now();
    bytes += (chunk as Buffer).length;
  }
  const seconds = (performance.now() - first) / 1000;
  await container.wait();
  return bytes / seconds;
}

async function raw(): Promise<void> {
  const { out: bare } = await rawPortSpeeds(shared);
  const ours = rates[0] ?? 0;
  rows.push({
    row: "container stdout to the script",
    bare: `${mib(bare)}/s`,
    tapvisor: `${mib(ours)}/s`,
    ratio: (ours / bare).toFixed(3),
    note: `bare: dd to the same port, nothing between; ${OUTPUT_MEGABYTES} MiB`,
  });
}

/** What the engine itself costs: a container's life on the fakes, journal and hooks included. */
async function engineOverhead(): Promise<void> {
  const world = new FakeWorld();
  await using engine = await createEngine({ preset: presetFake({ world }), root: join(directory, "fake") });
  await using sandbox = await engine.runSandbox();
  const bench = new Bench({ iterations: 200, time: 0, warmup: true });
  bench.add("life", async () => {
    const container = await sandbox.createContainer({ rootfs, command: ["true"] });
    await container.delete();
  });
  await bench.run();
  const result = bench.tasks[0]?.result as { latency?: { p50?: number; p99?: number } } | undefined;
  rows.push({
    row: "engine alone: create and delete of a container on the fakes",
    tapvisor: `${result?.latency?.p50?.toFixed(2)} ms`,
    note: "median of 200",
  });
}

async function meminfo(sandbox: Sandbox): Promise<Record<string, number>> {
  const container = await sandbox.run({ rootfs, command: ["cat", "/proc/meminfo"] });
  const lines = (await container.stdout.text()).trim().split("\n");
  await container.wait();
  await container.delete();
  return Object.fromEntries(lines.map((line) => [line.split(":")[0], Number(/\d+/.exec(line)?.[0]) * 1024]));
}

/** Milliseconds until the work calls `stop`, or ends. */
async function timed(work: (stop: () => void) => Promise<void>): Promise<number> {
  const start = performance.now();
  let end = 0;
  await work(() => {
    end ||= performance.now();
  });
  return (end || performance.now()) - start;
}

function ms(values: readonly number[]): string {
  return `${Math.round(median(values))} ms (${Math.round(Math.min(...values))} to ${Math.round(Math.max(...values))})`;
}

function mib(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(0)} MiB`;
}
