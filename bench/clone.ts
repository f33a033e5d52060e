/**
 * From nothing to the first answer of a clone's agent, through Tapvisor's plugins and by hand: the same command line and saved files, started by `spawn`, and the
 * same bytes over the port. Rounds alternate. `BENCH_ROUNDS` (30), `BENCH_LIVE` (4) clones for the memory of one that is idle.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, openSync, readFileSync, rmSync } from "node:fs";
import { loadavg } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { AnswerScanner, announcement, encodeHeader, FLAG, newNonce, TYPE } from "../src/protocol/yamux/index.ts";
import { encodeRenewal } from "../src/protocol.ts";
import { type ClonedVm, savedTemplate } from "../test/plugins/hypervisor-qemu/support/cloned-vms.ts";
import { lines, type Phases, quantiles, until } from "./clone-tools.ts";

const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 30);
const LIVE = Number(process.env.BENCH_LIVE ?? 4);
/** How long a clone is left alone before its memory is looked at, ms. */
const IDLE_MS = 3000;

/** A clone by hand. */
async function bareClone(
  argv: readonly string[],
  directory: string,
  state: string,
): Promise<{ readonly phases: Phases; end(): Promise<void> }> {
  mkdirSync(directory, { mode: 0o700 });
  const began = performance.now();
  const phases: Phases = {};
  const passed = (name: string) => {
    phases[name] = performance.now() - began;
  };
  const [program = "", ...args] = argv;
  const child: ChildProcess = spawn(program, args, { stdio: ["ignore", "ignore", "ignore", openSync(state, "r")] });
  const gone = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  const qmp = await lines(join(directory, "qmp.sock"));
  await qmp.next((line) => line.includes("QMP"));
  passed("QMP greeting");
  const ask = async (execute: string, given: object = {}) => {
    qmp.write(`${JSON.stringify({ execute, arguments: given })}\n`);
    await qmp.next((line) => line.includes('"return"'));
  };
  const capabilities = ["x-ignore-shared", "events"].map((capability) => ({ capability, state: true }));
  await ask("qmp_capabilities");
  await ask("migrate-set-capabilities", { capabilities });
  const restored = qmp.next((line) => line.includes('"completed"'));
  qmp.write('{"execute":"migrate-incoming","arguments":{"uri":"fd:3"}}\n');
  await restored;
  passed("restored");
  await ask("cont");
  passed("cont");
  const port = await lines(join(directory, "agent.sock"));
  const nonce = newNonce();
  const scanner = new AnswerScanner(nonce);
  port.write(announcement(nonce));
  await until(port, (bytes) => scanner.push(bytes) !== undefined);
  passed("session answered");
  const identity = { entropy: randomBytes(64).toString("hex"), machineId: randomBytes(16).toString("hex"), hostname: "bare" };
  const renewal = encodeRenewal({ identity, clock: BigInt(Date.now()) * 1_000_000n });
  port.write(Buffer.concat([encodeHeader(TYPE.data, FLAG.syn, 1, renewal.length), renewal]));
  await until(port, (bytes) => bytes.includes('"ok":true'));
  passed("renewed");
  const end = async () => {
    for (const each of [qmp, port]) each.end();
    child.kill("SIGKILL");
    await gone;
    rmSync(directory, { recursive: true, force: true });
  };
  return { phases, end };
}

/** A running clone's own command line, for another directory. */
function argvOf(clone: ClonedVm, directory: string): string[] {
  const argv = readFileSync(`/proc/${pidOf(clone)}/cmdline`, "utf8")
    .split("\0")
    .slice(0, -1);
  return argv.map((word) => word.replaceAll(clone.grant.runDirectory, directory));
}

function pidOf({ grant }: ClonedVm): number {
  if (!grant.process) throw new Error("the VM has no process");
  return grant.process.pid;
}

function memoryOf(pid: number): { readonly pss: number; readonly dirty: number } {
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  const mib = (field: string) => Number(new RegExp(`^${field}:\\s+(\\d+)`, "m").exec(rollup)?.[1]) / 1024;
  return { pss: mib("Pss"), dirty: mib("Private_Dirty") };
}

const before = loadavg()[0] ?? 0;
await using template = await savedTemplate();
const state = join(template.directory, "state");
const bareDirectory = join(template.directory, "bare");
const results: Record<"bare" | "tapvisor", Phases[]> = { bare: [], tapvisor: [] };
let argv: readonly string[] = [];
{
  await using first = await template.clone("first"); // its files are in memory from here on
  argv = argvOf(first, bareDirectory);
}
const runs = {
  bare: async () => {
    const { phases, end } = await bareClone(argv, bareDirectory, state);
    await end();
    return phases;
  },
  tapvisor: async (round: number) => {
    await using clone = await template.clone(`clone-${round}`);
    const { vm, connected, renewed } = clone.tookMs;
    return { "VM runs": vm, "session answered": connected, renewed, "clock error": clone.renewed.clockErrorMs };
  },
};
for (let round = 0; round < ROUNDS; round++) {
  const order = round % 2 === 0 ? (["bare", "tapvisor"] as const) : (["tapvisor", "bare"] as const);
  for (const side of order) results[side].push(await runs[side](round));
}
console.log(`| since the start of QEMU, ms | n | p50 | p95 | p99 | max |\n|---|---|---|---|---|---|`);
for (const side of ["bare", "tapvisor"] as const) {
  for (const phase of Object.keys(results[side][0] ?? {})) {
    console.log(`| ${side}: ${phase} | ${ROUNDS} | ${quantiles(results[side].map((each) => each[phase] ?? Number.NaN)).join(" | ")} |`);
  }
}
const live: ClonedVm[] = [];
try {
  for (let index = 0; index < LIVE; index++) live.push(await template.clone(`live-${index}`));
  await delay(IDLE_MS);
  const memory = live.map((clone) => memoryOf(pidOf(clone)));
  const mean = (field: "pss" | "dirty") => Math.round(memory.reduce((sum, each) => sum + each[field], 0) / LIVE);
  console.log(`\n${LIVE} idle clones: ${mean("pss")} MiB PSS each, ${mean("dirty")} MiB of it private and written to`);
} finally {
  for (const clone of live) await clone[Symbol.asyncDispose]();
}
console.log(`load ${before.toFixed(1)} before, ${(loadavg()[0] ?? 0).toFixed(1)} after`);
