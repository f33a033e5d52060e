import { closeSync, constants, openSync, rmSync, unlinkSync } from "node:fs";
import { type ConnectOpts, Socket, type SocketConstructorOpts } from "node:net";
import type { FifoPool } from "./fifo-pool.ts";
import { InputStream } from "./input-stream.ts";
import { type OpenSource, socketSource } from "./output-source.ts";
import { OutputStream } from "./output-stream.ts";

const { O_NONBLOCK, O_RDONLY, O_RDWR, O_WRONLY } = constants;

/** The pipes of one process: the agent's ends as streams, the process's ends as descriptors until it has been spawned. */
export interface ProcessPipes {
  readonly stdin: InputStream;
  readonly stdout: OutputStream;
  readonly stderr: OutputStream;
  /** Gets the pid, in decimal, from the runtime's `--pid-file`: the event that the process has been set up. */
  readonly pidFile: { readonly path: string; readonly text: Promise<string> };
  /** For `spawn`: standard input, output, error. */
  readonly childEnds: readonly [number, number, number];
  /** Closes the process's ends here; they stay open in the process. Again is nothing. */
  closeChildEnds(): void;
  /** Closes everything and throws away what was not read. Again is nothing. */
  discard(): void;
}

export async function openPipes(fifos: FifoPool): Promise<ProcessPipes> {
  const paths = await fifos.take(4);
  const [inPath = "", outPath = "", errPath = "", pidPath = ""] = paths;
  const open: number[] = [];
  try {
    // Synchronous: on a tmpfs a call takes less than a turn through the thread pool, and half of the pool waits for the agent's port.
    const input = openFifo(inPath, O_RDONLY, O_WRONLY | O_NONBLOCK, open);
    const output = openFifo(outPath, O_WRONLY, O_RDONLY | O_NONBLOCK, open);
    const error = openFifo(errPath, O_WRONLY, O_RDONLY | O_NONBLOCK, open);
    const pid = openSync(pidPath, O_RDWR | O_NONBLOCK); // with a writing end of its own it never ends, so nothing comes but the pid
    open.push(pid);
    return assemble({ input, output, error, pid, pidPath });
  } catch (error) {
    for (const descriptor of open) closeSync(descriptor);
    for (const path of paths) rmSync(path, { force: true });
    throw error;
  }
}

interface Ends {
  readonly child: number;
  readonly own: number;
}

/**
 * Both ends of a named pipe. Opening one end waits for the other, so the pipe is first held open by a descriptor that does both. The child's end is
 * a separate open file: it must not get the O_NONBLOCK that the agent's end has.
 */
function openFifo(path: string, childFlags: number, ownFlags: number, opened: number[]): Ends {
  const holder = openSync(path, O_RDWR | O_NONBLOCK);
  try {
    const child = openSync(path, childFlags);
    opened.push(child);
    const own = openSync(path, ownFlags);
    opened.push(own);
    return { child, own };
  } finally {
    closeSync(holder);
    unlinkSync(path);
  }
}

function assemble(ends: { input: Ends; output: Ends; error: Ends; pid: number; pidPath: string }): ProcessPipes {
  const stdin = new InputStream(socketOn(ends.input.own, { readable: false, writable: true, highWaterMark: 0 }));
  const stdout = new OutputStream(readerOf(ends.output.own));
  const stderr = new OutputStream(readerOf(ends.error.own));
  const pid = socketOn(ends.pid, { readable: true, writable: false });
  const text = new Promise<string>((resolve) => pid.once("data", (data) => resolve(data.toString("latin1"))));
  pid.on("error", () => {});
  const childEnds = [ends.input.child, ends.output.child, ends.error.child] as const;
  let childOpen = true;
  let pidOpen = true;
  const closeChildEnds = () => {
    if (!childOpen) return;
    childOpen = false;
    for (const descriptor of childEnds) closeSync(descriptor);
  };
  const closePid = () => {
    if (!pidOpen) return;
    pidOpen = false;
    pid.destroy();
    unlinkSync(ends.pidPath);
  };
  void text.then(closePid);
  return {
    stdin,
    stdout,
    stderr,
    pidFile: { path: ends.pidPath, text },
    childEnds,
    closeChildEnds,
    discard() {
      closeChildEnds();
      closePid();
      stdin.discard();
      stdout.discard();
      stderr.discard();
    },
  };
}

function readerOf(fd: number): OpenSource {
  return socketSource((options) => socketOn(fd, { readable: true, writable: false, ...options }));
}

/** Its constructor passes the stream options on, though the types do not say so. */
function socketOn(fd: number, options: SocketConstructorOpts & ConnectOpts & { readonly highWaterMark?: number }): Socket {
  return new Socket({ ...options, fd });
}
