import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, rmSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { AnswerScanner, announcement, encodeHeader, FLAG, newNonce, TYPE } from "../../src/protocol/yamux/index.ts";
import { encodeRenewal } from "../../src/protocol.ts";
import { type Phases, stopwatch } from "./measure.ts";
import { type Lines, lines, until } from "./wire.ts";

/** A QEMU without Tapvisor: started by nothing but `spawn`, told by nothing but its two sockets. */
export interface HandVm extends AsyncDisposable {
  readonly pid: number;
  readonly directory: string;
  /** Since the start of QEMU. */
  readonly phases: Phases;
  passed(phase: string): void;
  readonly qmp: Lines;
  /** A command of QMP, until its answer. */
  ask(execute: string, given?: object): Promise<void>;
  /** A session with the guest's agent, and an identity of the guest's own. */
  renew(): Promise<void>;
}

/** Starts QEMU with the state as descriptor 3, if any; it greets when this resolves. */
export async function startByHand([program = "", ...args]: readonly string[], directory: string, state?: string): Promise<HandVm> {
  mkdirSync(directory, { mode: 0o700 });
  const file = state === undefined ? undefined : await open(state);
  const { phases, passed } = stopwatch();
  const child = spawn(program, args, { stdio: ["ignore", "ignore", "ignore", ...(file ? [file.fd] : [])] });
  const gone = once(child, "exit");
  const sockets: Lines[] = [];
  const socket = async (name: string) => {
    const opened = await lines(join(directory, name));
    sockets.push(opened);
    return opened;
  };
  const end = async () => {
    for (const each of sockets) each.end();
    child.kill("SIGKILL");
    await gone;
    rmSync(directory, { recursive: true, force: true });
  };
  try {
    const qmp = await socket("qmp.sock");
    await qmp.next((line) => line.includes("QMP"));
    passed("QMP greeting");
    let asked = 0;
    const ask = async (execute: string, given: object = {}) => {
      const id = ++asked;
      qmp.write(`${JSON.stringify({ execute, arguments: given, id })}\n`);
      const answer = JSON.parse(await qmp.next((line) => JSON.parse(line).id === id)) as { readonly error?: object };
      if (answer.error) throw new Error(`QEMU refuses ${execute}: ${JSON.stringify(answer.error)}`);
    };
    await ask("qmp_capabilities");
    const renew = async () => {
      await renewByHand(await socket("agent.sock"), passed);
    };
    return { pid: child.pid ?? 0, directory, phases, passed, qmp, ask, renew, [Symbol.asyncDispose]: end };
  } catch (error) {
    await end();
    throw error;
  } finally {
    await file?.close();
  }
}

/** The capabilities of a migration without the memory, whose end is told. */
export const CAPABILITIES = { capabilities: ["x-ignore-shared", "events"].map((capability) => ({ capability, state: true })) };

/** Lets the guest go on where the state was saved. */
export async function goOn({ qmp, ask, passed }: HandVm): Promise<void> {
  await ask("migrate-set-capabilities", CAPABILITIES);
  const restored = qmp.next((line) => line.includes('"completed"'));
  await Promise.all([ask("migrate-incoming", { uri: "fd:3" }), restored]);
  passed("restored");
  await ask("cont");
  passed("cont");
}

async function renewByHand(port: Lines, passed: (phase: string) => void): Promise<void> {
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
}
