import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type Socket } from "node:net";
import { resolve as absolute, join } from "node:path";
import type { Duplex } from "node:stream";
import { TapvisorError } from "tapvisor/plugin";
import { Http2Guard } from "./http2-guard.ts";
import { MAX_SOCKET_PATH } from "./limits.ts";

/**
 * A unix socket that leads to a stream, for one connection: grpc-js dials addresses and cannot be given a stream.
 * Its file exists only until that connection is there.
 */
export interface Bridge {
  readonly path: string;
  /**
   * Settles when the stream or the connection has ended, with the error if there was one; what came before the end of the stream has been
   * handed on by then. Never rejects.
   */
  readonly ended: Promise<Error | undefined>;
  /** Ends both sides and removes the socket's file, at once. Idempotent. */
  close(): Promise<void>;
  /** Settles when the file is gone. */
  readonly unlinked: Promise<void>;
}

/** @throws HOST_LIMIT when the socket's path would be longer than the kernel takes. */
export async function openBridge(runDirectory: string, stream: Duplex): Promise<Bridge> {
  let failure: Error | undefined;
  const note = (error: Error) => {
    failure ??= error;
  };
  stream.on("error", note); // before the first wait: without a listener its error would end the process
  const prefix = join(absolute(runDirectory), "grpc-");
  checkLength(join(`${prefix}XXXXXX`, "s"));
  const directory = await mkdtemp(prefix); // mode 0700 whatever the umask: no other user can connect
  const path = join(directory, "s");
  const server = createServer();
  let socket: Socket | undefined;
  let settle: (error: Error | undefined) => void = () => {};
  let unlink = () => {};

  const ended = new Promise<Error | undefined>((resolve) => {
    settle = resolve;
  });
  const unlinked = new Promise<void>((resolve, reject) => {
    unlink = () => {
      unlink = () => {};
      server.close(); // removes the socket's file
      rm(directory, { recursive: true, force: true }).then(resolve, reject);
    };
  });
  unlinked.catch(() => {}); // whoever awaits it sees the failure
  const end = () => {
    stream.destroy();
    unlink();
    settle(failure);
  };
  const stop = () => {
    if (socket) socket.destroySoon();
    else end();
  };
  for (const event of ["end", "error", "close"]) stream.once(event, stop);
  server.on("connection", (accepted) => {
    accepted.on("error", note);
    if (socket) return void accepted.destroy();
    socket = accepted;
    socket.once("close", end);
    unlink();
    const guard = new Http2Guard();
    const refuse = (wrong: Error) => {
      note(wrong);
      accepted.destroy();
    };
    stream.on("data", (chunk: Buffer) => {
      const wrong = guard.received(chunk);
      if (wrong) refuse(wrong);
      else if (!accepted.write(chunk)) stream.pause();
    });
    accepted.on("drain", () => stream.resume());
    accepted.on("data", (chunk: Buffer) => {
      const wrong = guard.sent(chunk);
      if (wrong) refuse(wrong);
    });
    accepted.pipe(stream);
  });
  server.listen(path);
  await once(server, "listening").catch(async (error) => {
    end();
    await unlinked;
    throw error;
  });
  if (stream.destroyed) end(); // while the socket was made
  return {
    path,
    ended,
    unlinked,
    close: async () => {
      socket?.destroy();
      end();
      await unlinked;
    },
  };
}

function checkLength(path: string): void {
  const bytes = Buffer.byteLength(path);
  if (bytes <= MAX_SOCKET_PATH) return;
  throw new TapvisorError("HOST_LIMIT", `Cannot listen on "${path}": the path has ${bytes} bytes, wanted at most ${MAX_SOCKET_PATH}`, {
    data: { what: `the length of the socket path ${path}`, wanted: bytes, available: MAX_SOCKET_PATH },
    hint: "Use a shorter root directory",
  });
}
