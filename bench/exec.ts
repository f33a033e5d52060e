// What a further process costs, and the agent itself: against a shell on the same port, and in calls, in one run. Ratios carry over, times do not.
import { mkdtemp, rm } from "node:fs/promises";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { createEngine } from "tapvisor";
import { type AgentClient, type AgentTarget, type Call, definePlugin } from "tapvisor/plugin";
import { connect } from "../plugins/agent-grpc/connect.ts";
import { makeExampleRootfs } from "../scripts/example-rootfs.ts";
import { agentFootprint, type Footprint } from "./agent-footprint.ts";
import { parts } from "./bare.ts";
import { type RawShellTimes, rawShellTimes } from "./raw-shell.ts";
import { median, timed } from "./timing.ts";

const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 3);
const CALLS = Number(process.env.BENCH_CALLS ?? 30);
/** Of `exec` until its result is there: ExecProcess; then the two outputs are opened, and the end is waited for, all at once. */
const ROUND_TRIPS = 2;

const directory = await mkdtemp(join(tmpdir(), "tv-bench-"));
const rootfs = join(directory, "rootfs");
makeExampleRootfs(rootfs);
const loadBefore = loadavg()[0];
const raw: RawShellTimes[] = [];
const ours = { call: [] as number[], exec: [] as number[], start: [] as number[] };
const footprints: Footprint[] = [];

let client: AgentClient | undefined;
/** The agent's client, which is kept here too: the engine's own calls are then measured beside single ones. */
const keeping = definePlugin("agent-grpc", (ctx) => {
  const connectKeeping = async (target: AgentTarget, call: Call): Promise<AgentClient> => {
    client = await connect(target, call);
    return client;
  };
  ctx.provide("agent", "grpc", async () => ({ needsTransport: true, connect: connectKeeping }));
});

try {
  const shared = await parts();
  for (let round = 0; round < ROUNDS; round++) {
    raw.push(await rawShellTimes(shared, CALLS));
    footprints.push(await agentFootprint(shared));
    await using engine = await createEngine({ root: join(directory, "root"), templates: false, plugins: [keeping()] });
    await using sandbox = await engine.runSandbox({ memory: "512MiB" });
    const web = await sandbox.run({ id: "web", rootfs, command: ["sleep", "100000"] });
    for (let count = 0; count < 3; count++) await web.exec(["true"]);
    for (let count = 0; count < CALLS; count++) {
      ours.call.push(await timed(async () => client?.check(shared.call)));
      ours.exec.push(await timed(async () => web.exec(["true"])));
      ours.start.push(await timed(() => startAndWait(shared.call, `bench-${count}`)));
    }
  }
} finally {
  await rm(directory, { recursive: true, force: true });
}

/** The two calls without which no process is run. */
async function startAndWait(call: Call, exec: string): Promise<void> {
  const process = { container: "web", exec };
  const spec = { terminal: false, user: { uid: 0, gid: 0 }, args: ["true"], env: ["PATH=/bin:/usr/bin"], cwd: "/", noNewPrivileges: true };
  await client?.execProcess(process, spec, call);
  await client?.waitProcess(process, call);
}

const bareCall = raw.flatMap(({ call }) => call);
const bareProcess = raw.flatMap(({ process }) => process);
const trips = ROUND_TRIPS * median(ours.call);
console.log(`\n${ROUNDS} rounds of ${CALLS}, load ${loadBefore?.toFixed(1)} before and ${loadavg()[0]?.toFixed(1)} after\n`);
console.log("| row | bare | Tapvisor | ratio | note |\n|---|---|---|---|---|");
row("an empty call (`Check`)", ms(bareCall), ms(ours.call), median(ours.call) / median(bareCall), "bare: a shell answers a line");
row(
  "`exec true` end to end",
  ms(bareProcess),
  ms(ours.exec),
  median(ours.exec) / median(bareProcess),
  "bare: the shell runs `true`, no container",
);
row(
  "`exec true` end to end",
  `${trips.toFixed(0)} ms`,
  ms(ours.exec),
  median(ours.exec) / trips,
  `bare: ${ROUND_TRIPS} round trips of an empty call`,
);
row(
  "`exec true` end to end",
  ms(ours.start),
  ms(ours.exec),
  median(ours.exec) / median(ours.start),
  "bare: ExecProcess and WaitProcess alone",
);
const middle = (pick: (footprint: Footprint) => number) => median(footprints.map(pick));
const memory = 512 * 2 ** 20;
row("the agent's memory: RSS", mib(memory), mib(middle(({ rss }) => rss)), middle(({ rss }) => rss) / memory, "bare: what the VM has");
row("the agent's memory: PSS", mib(memory), mib(middle(({ pss }) => pss)), middle(({ pss }) => pss) / memory, "bare: what the VM has");
const [startMs, bootMs] = [middle((each) => each.startMs), middle((each) => each.bootMs)];
row(
  "the agent's start to its first answer",
  `${bootMs.toFixed(0)} ms`,
  `${startMs.toFixed(0)} ms`,
  startMs / bootMs,
  "bare: the whole boot to that answer",
);

function row(name: string, bare: string, tapvisor: string, ratio: number, note: string): void {
  console.log(`| ${name} | ${bare} | ${tapvisor} | ${ratio.toFixed(2)} | ${note} |`);
}

function ms(values: readonly number[]): string {
  const [low, middle, high] = [Math.min(...values), median(values), Math.max(...values)].map((each) => each.toFixed(1));
  return `${middle} ms (${low} to ${high})`;
}

function mib(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(0)} MiB`;
}
