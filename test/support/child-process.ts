import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

export interface Child<Message> extends AsyncDisposable {
  send(message: unknown): void;
  /** The next message; `undefined` when the child has ended. */
  next(): Promise<Message | undefined>;
  /** Ends it at once, as `kill -9` does. */
  kill(): Promise<void>;
  readonly ended: Promise<{ readonly code: number | null; readonly signal: string | null }>;
}

/** A second process that runs a file and talks by messages. It dies with its scope. */
export function startChild<Message>(file: URL, args: readonly string[]): Child<Message> {
  const child: ChildProcess = fork(fileURLToPath(file), args, { execArgv: ["--import", "tsx"] });
  const messages: Message[] = [];
  let wake: () => void = () => {};
  child.on("message", (message) => {
    messages.push(message as Message);
    wake();
  });
  const ended = once(child, "close").then(([code, signal]) => ({ code, signal }));
  const kill = async () => {
    child.kill("SIGKILL");
    await ended;
  };
  return {
    send: (message) => void child.send(message as object),
    async next() {
      for (;;) {
        const message = messages.shift();
        if (message !== undefined) return message;
        const woken = new Promise<void>((resolve) => {
          wake = resolve;
        });
        const over = await Promise.race([woken.then(() => false), ended.then(() => true)]);
        if (over && messages.length === 0) return undefined;
      }
    },
    kill,
    ended,
    [Symbol.asyncDispose]: kill,
  };
}
