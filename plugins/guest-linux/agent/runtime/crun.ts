import { type ChildProcess, spawn } from "node:child_process";
import { constants } from "node:os";
import type { ProcessPipes } from "../process/pipes.ts";

/** Where the OCI runtime works, and how it is called. */
export interface Runtime {
  readonly program: string;
  /** The runtime's own state, one directory a container. */
  readonly root: string;
}

/** A run of the OCI runtime in the foreground: it is the parent of a process in a container and ends with that process's exit code. */
export interface RuntimeRun {
  readonly child: ChildProcess;
  /** The exit code as a shell reports it, 128 + n for signal n. Never rejects: -1 when the runtime itself could not be started. */
  readonly ended: Promise<number>;
}

/** `crun run`: makes the container of a bundle and runs its process. */
export function runContainer(runtime: Runtime, id: string, bundle: string, log: string, pipes: ProcessPipes): RuntimeRun {
  return foreground(runtime, log, pipes, ["run", "--bundle", bundle, "--pid-file", pipes.pidFile.path, id]);
}

/** `crun exec`: one more process in a running container. */
export function execInContainer(runtime: Runtime, id: string, processFile: string, log: string, pipes: ProcessPipes): RuntimeRun {
  return foreground(runtime, log, pipes, ["exec", "--process", processFile, "--pid-file", pipes.pidFile.path, id]);
}

/** `crun delete --force`: what a runtime that was killed leaves behind. */
export function deleteArguments(runtime: Runtime, id: string): readonly string[] {
  return ["--root", runtime.root, "delete", "--force", id];
}

function foreground({ program, root }: Runtime, log: string, pipes: ProcessPipes, command: readonly string[]): RuntimeRun {
  const args = ["--root", root, "--log", log, "--log-format", "json", ...command];
  let child: ChildProcess;
  try {
    child = spawn(program, args, { stdio: [...pipes.childEnds], env: {} });
  } finally {
    pipes.closeChildEnds();
  }
  const ended = new Promise<number>((resolve) => {
    child.once("error", () => resolve(-1));
    child.once("exit", (code, signal) => resolve(code ?? 128 + (signal ? constants.signals[signal] : 0)));
  });
  return { child, ended };
}
