import { connect, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";

/** How long a socket may take to appear, or an answer to come, ms. */
const DEADLINE_MS = 30_000;

export interface Lines {
  write(bytes: string | Buffer): void;
  /** The next line that matches; those before it are passed over. */
  next(matches: (line: string) => boolean): Promise<string>;
  readonly socket: Socket;
  end(): void;
}

/** A socket that may have to appear first. */
export async function lines(path: string): Promise<Lines> {
  const socket = await dial(path, performance.now() + DEADLINE_MS);
  let rest = "";
  const waiting: { matches: (line: string) => boolean; resolve: (line: string) => void }[] = [];
  return {
    socket,
    write: (bytes) => void socket.write(bytes),
    next: (matches) => {
      if (waiting.length === 0 && socket.listenerCount("data") === 0) {
        socket.on("data", (chunk: Buffer) => {
          const all = (rest + chunk.toString("latin1")).split("\n");
          rest = all.pop() ?? "";
          for (const line of all) {
            const at = waiting.findIndex((each) => each.matches(line));
            if (at >= 0) waiting.splice(at, 1)[0]?.resolve(line);
          }
        });
      }
      return new Promise((resolve) => waiting.push({ matches, resolve }));
    },
    end: () => void socket.destroy(),
  };
}

/** Resolves with the first piece of what comes for which `found` says so. */
export function until({ socket }: Lines, found: (bytes: Buffer) => boolean): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("no answer over the port")), DEADLINE_MS);
    const look = (chunk: Buffer) => {
      if (!found(chunk)) return;
      clearTimeout(timer);
      socket.off("data", look);
      resolve();
    };
    socket.on("data", look);
  });
}

async function dial(path: string, deadline: number): Promise<Socket> {
  for (;;) {
    const socket = connect({ path });
    const connected = await new Promise<boolean>((resolve) => {
      socket.once("connect", () => resolve(true));
      socket.once("error", () => resolve(false));
    });
    if (connected) return socket.on("error", () => {});
    if (performance.now() > deadline) throw new Error(`there is no socket ${path}`);
    await delay(1); // nothing announces a socket
  }
}
