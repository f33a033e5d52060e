import { Transform } from "node:stream";
import { finished } from "node:stream/promises";
import type { TtySize } from "../config/process-config.ts";
import type { ProcessEnd } from "../container/guest-process.ts";
import type { InputStream } from "../container/input-stream.ts";
import type { OutputStream } from "../container/output-stream.ts";
import { CliError } from "./cli-error.ts";
import { EXIT } from "./exit-codes.ts";

/** A process in a container, as far as a terminal has to do with it. */
export interface RemoteProcess {
  readonly stdin: InputStream;
  readonly stdout: OutputStream;
  readonly stderr: OutputStream;
  wait(): Promise<ProcessEnd>;
  resizeTty(size: TtySize): Promise<void>;
}

export interface Connection {
  /** This program's input is passed on. */
  readonly interactive: boolean;
  /** The process has a terminal: this one passes every key on and shows what comes. */
  readonly tty: boolean;
}

/** Lets go of the process, as with Docker: Ctrl-P, Ctrl-Q. */
const DETACH_KEYS = Buffer.from([0x10, 0x11]);

/**
 * Connects this program's streams with a process's until it has ended and all it printed is shown; the terminal is then as it was before.
 * In a terminal Ctrl-P Ctrl-Q lets go of it, and the process goes on: exit code 0.
 */
export async function connectTerminal(remote: RemoteProcess, { interactive, tty }: Connection): Promise<ProcessEnd> {
  let detach: (end: ProcessEnd) => void = () => {};
  const detached = new Promise<ProcessEnd>((resolve) => {
    detach = resolve;
  });
  const undo = [interactive ? passInput(remote, tty, () => detach({ exitCode: EXIT.ok })) : endInput(remote)];
  if (tty) undo.push(followSize(remote));
  try {
    remote.stdout.pipe(process.stdout, { end: false });
    remote.stderr.pipe(process.stderr, { end: false });
    const shown = Promise.all([finished(remote.stdout), finished(remote.stderr), remote.wait()]).then(([, , end]) => end);
    return await Promise.race([shown, detached]);
  } finally {
    for (const each of undo) each();
    remote.stdout.unpipe();
    remote.stderr.unpipe();
  }
}

/** @throws a CliError when this program's input or output is no terminal. */
export function requireTerminal(): void {
  if (process.stdin.isTTY && process.stdout.isTTY) return;
  throw new CliError(EXIT.usage, "Cannot show a terminal: the standard input or output is none, wanted both", {
    hint: "leave out --tty, or run it in a terminal",
  });
}

/** The size of this program's terminal. */
export function terminalSize(): TtySize {
  return { rows: Math.max(1, process.stdout.rows ?? 24), columns: Math.max(1, process.stdout.columns ?? 80) };
}

function passInput(remote: RemoteProcess, tty: boolean, onDetach: () => void): () => void {
  const { stdin } = process;
  const keys = tty ? stdin.pipe(watchKeys(onDetach)) : stdin;
  if (tty) stdin.setRawMode(true);
  keys.pipe(remote.stdin);
  return () => {
    if (tty) stdin.setRawMode(false);
    stdin.unpipe();
    stdin.pause();
    keys.unpipe();
  };
}

function endInput(remote: RemoteProcess): () => void {
  remote.stdin.end();
  return () => {};
}

function followSize(remote: RemoteProcess): () => void {
  const tell = () => void remote.resizeTty(terminalSize()).catch(() => {}); // it may have ended just now
  process.stdout.on("resize", tell);
  return () => process.stdout.off("resize", tell);
}

/** Passes bytes on until the keys for letting go come; the first of them waits for what follows. */
function watchKeys(onDetach: () => void): Transform {
  let held = false;
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      const bytes = held ? Buffer.concat([DETACH_KEYS.subarray(0, 1), chunk]) : chunk;
      const found = bytes.indexOf(DETACH_KEYS);
      held = found === -1 && bytes.at(-1) === DETACH_KEYS[0];
      if (found !== -1) onDetach();
      done(null, found === -1 ? bytes.subarray(0, held ? bytes.length - 1 : bytes.length) : bytes.subarray(0, found));
    },
  });
}
