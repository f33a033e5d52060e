import { spawn } from "node:child_process";
import { once } from "node:events";
import { onceAborted } from "../../../src/base/deadline.ts";
import { closeFileScope, openFileScope } from "./file-scope.ts";
import type { FileRun } from "./judge.ts";
import { parseUvuSummary } from "./parse-uvu.ts";

/** How long a file's output may take to arrive after its process has ended: only a leaked process holds it open longer. */
const DRAIN_MS = 1_000;

export interface RunFileOptions {
  readonly runDirectory: string;
  /** Names the file's temporary directory. */
  readonly name: string;
  readonly deadlineMs: number;
  /** How long it may go on after its tests have ended: what holds it is a handle that no test closed. */
  readonly exitMs: number;
  /** How long what it started may take to end after it. */
  readonly settleMs: number;
  readonly signal: AbortSignal;
}

export interface FileResult extends FileRun {
  readonly durationMs: number;
}

/** Runs one test file in a process of its own and says how it ended and what it left. */
export async function runFile(
  file: string,
  { runDirectory, name, deadlineMs, exitMs, settleMs, signal }: RunFileOptions,
): Promise<FileResult> {
  const opened = await openFileScope(runDirectory, name);
  const started = performance.now();
  // A session of its own: at the deadline the whole group is ended, and what stays in it is known.
  const child = spawn(process.execPath, ["--import", "tsx", file], { env: opened.env, stdio: ["ignore", "pipe", "pipe"], detached: true });
  const chunks: Buffer[] = [];
  const output = () => Buffer.concat(chunks).toString("utf8");
  let ending: NodeJS.Timeout | undefined;
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk: Buffer) => {
      chunks.push(chunk);
      if (!ending && chunk.includes("Duration:") && parseUvuSummary(output())) ending = setTimeout(endAtDeadline, exitMs);
    });
  }
  const closed = once(child, "close");
  const runs = () => child.pid !== undefined && child.exitCode === null && child.signalCode === null;
  const endGroup = () => runs() && process.kill(-Number(child.pid), "SIGKILL");
  let timedOut = false;
  const endAtDeadline = () => {
    timedOut = true;
    endGroup();
  };
  const deadline = setTimeout(endAtDeadline, deadlineMs);
  signal.addEventListener("abort", endGroup, { once: true });
  const [exitCode, exitSignal] = (await once(child, "exit")) as [number | null, NodeJS.Signals | null];
  clearTimeout(deadline);
  signal.removeEventListener("abort", endGroup);
  await Promise.race([closed, onceAborted(AbortSignal.timeout(DRAIN_MS))]);
  child.stdout.destroy();
  child.stderr.destroy();
  clearTimeout(ending);
  const durationMs = performance.now() - started;
  const leaks = await closeFileScope(opened, child.pid, settleMs);
  return {
    exitCode,
    signal: exitSignal,
    output: output(),
    timedOut,
    leaks: leaks.map(({ text }) => text),
    durationMs,
  };
}
