import { type ChildProcess, spawn } from "node:child_process";
import { constants } from "node:os";
import type { ProcessPipes } from "../process/pipes.ts";
import type { Terminal } from "../terminal/terminal.ts";

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

/** Where a process's bytes go: through pipes, or through a terminal that its relay joins to them. */
export interface ProcessStreams {
  readonly pipes: ProcessPipes;
  readonly terminal: Terminal | undefined;
}

/** `crun run`: makes the container of a bundle and runs its process. */
export function runContainer(runtime: Runtime, id: string, bundle: string, log: string, streams: ProcessStreams): RuntimeRun {
  return foreground(runtime, log, streams, "run", ["--bundle", bundle], id);
}

/** `crun exec`: one more process in a running container. */
export function execInContainer(runtime: Runtime, id: string, processFile: string, log: string, streams: ProcessStreams): RuntimeRun {
  return foreground(runtime, log, streams, "exec", ["--process", processFile], id);
}

/** `crun delete --force`: what a runtime that was killed leaves behind. */
export function deleteArguments(runtime: Runtime, id: string): readonly string[] {
  return ["--root", runtime.root, "delete", "--force", id];
}

function foreground(
  { program, root }: Runtime,
  log: string,
  { pipes, terminal }: ProcessStreams,
  verb: string,
  options: readonly string[],
  id: string,
): RuntimeRun {
  const console = terminal ? ["--console-socket", terminal.socketPath] : [];
  const args = ["--root", root, "--log", log, "--log-format", "json", verb, ...options, ...console, "--pid-file", pipes.pidFile.path, id];
  const [input, output, error] = pipes.childEnds;
  let child: ChildProcess;
  try {
    child = spawn(program, args, { stdio: terminal ? ["ignore", "ignore", error] : [input, output, error], env: {} });
  } finally {
    if (!terminal) pipes.closeChildEnds(); // else they are the relay's
  }
  const ended = new Promise<number>((resolve) => {
    const end = (exitCode: number) => {
      terminal?.end();
      resolve(exitCode);
    };
    child.once("error", () => end(-1));
    child.once("exit", (code, signal) => end(code ?? 128 + (signal ? constants.signals[signal] : 0)));
  });
  return { child, ended };
}
