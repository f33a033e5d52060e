import { once } from "node:events";
import { type FileHandle, open, rm } from "node:fs/promises";
import { createServer, type Socket } from "node:net";
import { pipeline } from "node:stream/promises";
import { errnoOf, isTapvisorError, messageOf, TapvisorError, throwIfAborted } from "tapvisor/plugin";
import { checkSocketPath } from "./paths.ts";

const WHAT = "saving the VM's state";

/** A new file that a VM's state is written to; it is removed when it is not kept. */
export interface StateFile extends AsyncDisposable {
  /** Writes what one client sends to a socket behind what is there, at most so many bytes. */
  receive(socket: string, mostBytes: number, signal: AbortSignal): Promise<Receiving>;
  /** The file is whole, and on the disk. */
  keep(): Promise<void>;
}

export interface Receiving extends AsyncDisposable {
  /** Settles when all that was sent has been written. */
  readonly written: Promise<void>;
}

/** Makes the file, mode 0600, with `header`. @throws STATE_IO, also for one that is there, which stays as it is. */
export async function createStateFile(file: string, header?: Buffer): Promise<StateFile> {
  const handle = await open(file, "wx", 0o600).catch((cause: unknown) => {
    throw stateFailed(file, cause);
  });
  let kept = false;
  const state: StateFile = {
    receive: (socket, mostBytes, signal) => receive(handle, file, socket, mostBytes, signal),
    async keep() {
      await handle.sync().catch((cause: unknown) => {
        throw stateFailed(file, cause);
      });
      kept = true;
    },
    async [Symbol.asyncDispose]() {
      await handle.close().catch(() => {}); // the stream that wrote to it may have
      if (!kept) await rm(file, { force: true });
    },
  };
  if (!header) return state;
  try {
    await handle.writeFile(header);
    return state;
  } catch (cause) {
    await state[Symbol.asyncDispose]();
    throw stateFailed(file, cause);
  }
}

async function receive(handle: FileHandle, file: string, socket: string, mostBytes: number, signal: AbortSignal): Promise<Receiving> {
  const server = createServer({ allowHalfOpen: false });
  await rm(checkSocketPath(socket), { force: true }); // one that a dead process has left
  throwIfAborted(signal, WHAT);
  server.listen(socket);
  await once(server, "listening");
  const connected = once(server, "connection", { signal }).catch((error: unknown) => {
    throwIfAborted(signal, WHAT);
    throw error;
  });
  const written = connected.then(([client]) => writeAll(client as Socket, handle, file, mostBytes, signal));
  written.catch(() => {});
  return { written, [Symbol.asyncDispose]: () => new Promise<void>((resolve) => server.close(() => resolve())) };
}

async function writeAll(client: Socket, handle: FileHandle, file: string, mostBytes: number, signal: AbortSignal): Promise<void> {
  const write = async (source: AsyncIterable<Buffer>) => {
    let left = mostBytes;
    for await (const chunk of source) {
      left -= chunk.length;
      if (left < 0) throw new Error(`QEMU sends more than ${mostBytes} bytes`);
      await handle.writeFile(chunk); // where the last one ended
    }
  };
  try {
    await pipeline(client, write, { signal });
  } catch (cause) {
    client.destroy();
    throwIfAborted(signal, WHAT);
    throw isTapvisorError(cause) ? cause : stateFailed(file, cause);
  }
}

function stateFailed(file: string, cause: unknown): TapvisorError {
  return new TapvisorError("STATE_IO", `Cannot write the VM's state "${file}": ${messageOf(cause)}`, {
    data: { file, operation: "write", errno: errnoOf(cause) },
    hint: "look at the free space and the permissions of that directory",
    cause,
  });
}
