import { readFileSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { TapvisorError } from "./errors.ts";

/**
 * Who a process is, for good: pids are reused, so the start time (clock ticks since boot) and the boot's id go with it.
 * Nothing is ever signalled on a pid alone.
 */
export interface ProcessIdentity {
  readonly pid: number;
  readonly startTime: string;
  readonly bootId: string;
}

let bootId: string | undefined;

/**
 * Has this process call its boot so and never ask the kernel, which makes up a boot's id when somebody reads it first: in a VM that is saved nobody may, or all that
 * go on from it have the same. For a program that ends with its boot.
 */
export function assumeBootId(id: string): void {
  bootId = id;
}

/** This boot's id, from the kernel. */
export function currentBootId(): string {
  bootId ??= readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  return bootId;
}

/** The identity of a live process; `undefined` when there is none with this pid, or it is a zombie. */
export async function identifyProcess(pid: number): Promise<ProcessIdentity | undefined> {
  const stat = await readStat(pid);
  return stat && !isDead(stat) ? { pid, startTime: stat.startTime, bootId: currentBootId() } : undefined;
}

let self: ProcessIdentity | undefined;

/** This process. @throws INTERNAL when /proc does not show it. */
export async function ownIdentity(): Promise<ProcessIdentity> {
  self ??= await identifyProcess(process.pid);
  if (self) return self;
  throw new TapvisorError("INTERNAL", "Cannot tell this process's identity: /proc/self/stat is not readable", { data: {} });
}

/** Whether this very process still runs. A zombie does not: `kill(pid, 0)` would say that it does. */
export async function isAlive(identity: ProcessIdentity): Promise<boolean> {
  if (identity.bootId !== currentBootId()) return false;
  const stat = await readStat(identity.pid);
  return stat !== undefined && stat.startTime === identity.startTime && !isDead(stat);
}

/** Sends a signal to this very process; `false` when it is gone. */
export async function signalProcess(identity: ProcessIdentity, signal: NodeJS.Signals): Promise<boolean> {
  if (!(await isAlive(identity))) return false;
  try {
    process.kill(identity.pid, signal);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ESRCH") return false;
    throw error;
  }
}

/** Live processes whose command line holds `mark`, an unguessable text that only the wanted process was given. */
export async function findProcessesByMark(mark: string): Promise<ProcessIdentity[]> {
  const found: ProcessIdentity[] = [];
  for (const entry of await readdir("/proc")) {
    if (!/^\d+$/.test(entry) || Number(entry) === process.pid) continue;
    const commandLine = await readFile(`/proc/${entry}/cmdline`, "utf8").catch(() => "");
    if (!commandLine.includes(mark)) continue;
    const identity = await identifyProcess(Number(entry));
    if (identity) found.push(identity);
  }
  return found;
}

interface Stat {
  readonly state: string;
  readonly startTime: string;
  readonly threads: number;
}

async function readStat(pid: number): Promise<Stat | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => undefined);
  if (text === undefined) return undefined;
  // The name in parentheses may itself hold spaces and parentheses: fields are counted from the last one. See proc(5), fields 3, 20 and 22.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return { state: fields[0] ?? "X", startTime: fields[19] ?? "", threads: Number(fields[17]) };
}

function isDead({ state, threads }: Stat): boolean {
  // A killed process shows as a zombie while its other threads still finish a system call, a rename say: it is gone with the last of them.
  return state === "X" || state === "x" || (state === "Z" && threads <= 1);
}
