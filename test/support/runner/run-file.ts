import { spawn } from "node:child_process";
import { once } from "node:events";
import { onceAborted } from "../../../src/base/deadline.ts";
import { closeFileScope, openFileScope } from "./file-scope.ts";
import type { FileRun } from "./judge.ts";

/** How long a file's output may take to arrive after its process has ended: only a leaked process holds it open longer. */
const DRAIN_MS = 1_000;

export interface RunFileOptions {
  readonly runDirectory: string;
  /** Names the file's temporary directory. */
  readonly name: string;
  readonly deadlineMs: number;
  /** How long what it started may take to end after it. */
  readonly settleMs: number;
  readonly signal: AbortSignal;
}

export interface FileResult extends FileRun {
  readonly durationMs: number;
}

/** Runs one test file in a process of its own and says how it ended and what it left. */
export async function runFile(file: string, { runDirectory, name, deadlineMs, settleMs, signal }: RunFileOptions): Promise<FileResult> {
  const opened = await openFileScope(runDirectory, name);
  const started = performance.now();
  // A session of its own: at the deadline the whole group is ended, and what stays in it is known.
  const child = spawn(process.execPath, ["--import", "tsx", file], { env: opened.env, stdio: ["ignore", "pipe", "pipe"], detached: true });
  const chunks: Buffer[] = [];
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => chunks.push(chunk));
  const closed = once(child, "close");
  const endGroup = () => child.pid !== undefined && child.exitCode === null && process.kill(-child.pid, "SIGKILL");
  let timedOut = false;
  const deadline = setTimeout(() => {
    timedOut = true;
    endGroup();
  }, deadlineMs);
  signal.addEventListener("abort", endGroup, { once: true });
  const [exitCode, exitSignal] = (await once(child, "exit")) as [number | null, NodeJS.Signals | null];
  clearTimeout(deadline);
  signal.removeEventListener("abort", endGroup);
  await Promise.race([closed, onceAborted(AbortSignal.timeout(DRAIN_MS))]);
  child.stdout.destroy();
  child.stderr.destroy();
  const durationMs = performance.now() - started;
  const leaks = await closeFileScope(opened, child.pid, settleMs);
  return {
    exitCode,
    signal: exitSignal,
    output: Buffer.concat(chunks).toString("utf8"),
    timedOutAfterMs: timedOut ? deadlineMs : undefined,
    leaks: leaks.map(({ text }) => text),
    durationMs,
  };
}
