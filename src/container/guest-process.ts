import type { Logger } from "../base/log.ts";
import type { AgentClient, GuestProcessId } from "../contracts/agent.ts";
import { InputStream } from "./input-stream.ts";
import { OutputStream } from "./output-stream.ts";

/** A process in the guest that this process follows: its streams and its end. */
export interface GuestProcess {
  readonly stdin: InputStream;
  readonly stdout: OutputStream;
  readonly stderr: OutputStream;
  /** Resolves with the exit code as a shell reports it; rejects with AGENT_LOST. */
  readonly exited: Promise<number>;
  /** Lets go of it: pending requests are cancelled, the process itself goes on. */
  close(): void;
}

/** Follows a process that has been started; `ahead` as for an `OutputStream`. */
export function followProcess(client: AgentClient, id: GuestProcessId, ahead: boolean, log: Logger): GuestProcess {
  const stop = new AbortController();
  const stdin = new InputStream({
    write: (data, signal) => client.writeStdin(id, data, { signal, log }),
    close: (signal) => client.closeStdin(id, { signal, log }),
  });
  const stdout = new OutputStream((maxBytes, signal) => client.readStdout(id, maxBytes, { signal, log }), ahead);
  const stderr = new OutputStream((maxBytes, signal) => client.readStderr(id, maxBytes, { signal, log }), ahead);
  const exited = client.waitProcess(id, { signal: stop.signal, log });
  exited.catch(() => {}); // whoever waits gets it
  const close = () => {
    stop.abort();
    for (const stream of [stdin, stdout, stderr]) stream.destroy();
  };
  return { stdin, stdout, stderr, exited, close };
}
