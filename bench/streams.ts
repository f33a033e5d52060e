// What a container's standard streams carry, against a raw copy over the same port, in one run: ratios carry over, times do not.
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { createEngine, type Sandbox } from "tapvisor";
import { type AgentClient, type AgentTarget, type Call, definePlugin } from "tapvisor/plugin";
import { connect } from "../plugins/agent-grpc/connect.ts";
import { makeExampleRootfs } from "../scripts/example-rootfs.ts";
import { parts } from "./bare.ts";
import { type RawSpeeds, rawPortSpeeds } from "./raw-port.ts";
import { median } from "./timing.ts";

const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 3);
const MEGABYTES = Number(process.env.BENCH_MEGABYTES ?? 32);
const MiB = 2 ** 20;

const directory = await mkdtemp(join(tmpdir(), "tv-bench-"));
const rootfs = join(directory, "rootfs");
makeExampleRootfs(rootfs);
const loadBefore = loadavg()[0];
const raw: RawSpeeds[] = [];
const streamed = { out: [] as number[], in: [] as number[] };
const polled = { out: [] as number[], in: [] as number[] };

/** The agent's client, which can be told to ask for each piece: both ways are then measured in one VM. */
let polling = false;
const switchable = definePlugin("agent-grpc", (ctx) => {
  const connectSwitchable = async (target: AgentTarget, call: Call): Promise<AgentClient> => {
    const client = await connect(target, call);
    return Object.create(client, {
      openOutput: { get: () => (polling ? undefined : client.openOutput) },
      openInput: { get: () => (polling ? undefined : client.openInput) },
    }) as AgentClient;
  };
  ctx.provide("agent", "grpc", async () => ({ needsTransport: true, connect: connectSwitchable }));
});

try {
  const shared = await parts();
  for (let round = 0; round < ROUNDS; round++) {
    raw.push(await rawPortSpeeds(shared));
    await using engine = await createEngine({ root: join(directory, "root"), templates: false, plugins: [switchable()] });
    await using sandbox = await engine.runSandbox({ memory: 512 * MiB });
    for (polling of [true, false]) {
      const speeds = polling ? polled : streamed;
      speeds.out.push(await stdoutSpeed(sandbox));
      speeds.in.push(await stdinSpeed(sandbox));
    }
  }
} finally {
  await rm(directory, { recursive: true, force: true });
}

const rawOut = raw.map((each) => each.out);
const piped = raw.map((each) => each.piped);
const rawIn = raw.map((each) => each.in);
console.log(`\n${ROUNDS} rounds, load ${loadBefore?.toFixed(1)} before and ${loadavg()[0]?.toFixed(1)} after\n`);
console.log("| row | raw | polled | streamed | streamed to polled | streamed to raw |\n|---|---|---|---|---|---|");
row("container stdout to the script, raw: `dd` to the port", rawOut, polled.out, streamed.out);
row("container stdout to the script, raw: `dd | dd` to the port", piped, polled.out, streamed.out);
row("the script to container stdin, raw: `dd` from the port", rawIn, polled.in, streamed.in);

async function stdoutSpeed(sandbox: Sandbox): Promise<number> {
  const container = await sandbox.run({ rootfs, command: ["dd", "if=/dev/zero", "bs=64k", `count=${MEGABYTES * 16}`] });
  let bytes = 0;
  let first = 0;
  for await (const chunk of container.stdout) {
    first ||= performance.now();
    bytes += (chunk as Buffer).length;
  }
  const speed = bytes / ((performance.now() - first) / 1000);
  await container.wait();
  await container.delete();
  return speed;
}

async function stdinSpeed(sandbox: Sandbox): Promise<number> {
  const container = await sandbox.run({ rootfs, command: ["dd", "of=/dev/null", "bs=64k"] });
  const block = Buffer.alloc(64 * 1024, 1);
  const start = performance.now();
  for (let count = 0; count < MEGABYTES * 16; count++) if (!container.stdin.write(block)) await once(container.stdin, "drain");
  await new Promise<void>((resolve) => container.stdin.end(resolve));
  const speed = (MEGABYTES * MiB) / ((performance.now() - start) / 1000);
  await container.wait();
  await container.delete();
  return speed;
}

function row(name: string, bare: readonly number[], asked: readonly number[], ours: readonly number[]): void {
  const ratio = (to: readonly number[]) => (median(ours) / median(to)).toFixed(2);
  console.log(`| ${name} | ${mib(bare)} | ${mib(asked)} | ${mib(ours)} | ${ratio(asked)} | ${ratio(bare)} |`);
}

function mib(values: readonly number[]): string {
  const [low, middle, high] = [Math.min(...values), median(values), Math.max(...values)].map((bytes) => (bytes / MiB).toFixed(1));
  return `${middle} MiB/s (${low} to ${high})`;
}
