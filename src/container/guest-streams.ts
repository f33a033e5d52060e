import type { Logger } from "../base/log.ts";
import { KiB } from "../base/units.ts";
import type { AgentClient, GuestProcessId } from "../contracts/agent.ts";
import type { GuestInput, GuestOutput } from "../contracts/agent-streams.ts";
import { InputStream, type InputTarget } from "./input-stream.ts";
import { type OutputSource, OutputStream, READ_BYTES } from "./output-stream.ts";

/** At most this much travels in one request where each piece is one. */
const WRITE_BYTES = 64 * KiB;

/** The calls by which streams are read and written. */
export type StreamCalls = "readStdout" | "readStderr" | "writeStdin" | "closeStdin" | "openOutput" | "openInput";
type StreamClient = Pick<AgentClient, StreamCalls>;

/** The standard streams of a process in the guest: streamed where the guest offers that, asked for piece by piece otherwise. */
export interface GuestStreams {
  readonly stdin: InputStream;
  readonly stdout: OutputStream;
  readonly stderr: OutputStream;
  /** Lets go of all of them; the process goes on. */
  close(): void;
}

/** Where the guest streams, the streams may be made before the process is started: its first output then comes without another round trip. */
export function guestStreams(client: StreamClient, id: GuestProcessId, log: Logger): GuestStreams {
  const stdin = new InputStream(inputTarget(client, id, log));
  const stdout = new OutputStream(outputSource(client, id, "stdout", log));
  const stderr = new OutputStream(outputSource(client, id, "stderr", log));
  if (client.openOutput) {
    // Nothing is lost to another reader: what nobody takes here stays in the guest.
    stdout.readAhead();
    stderr.readAhead();
  }
  const close = () => {
    for (const stream of [stdin, stdout, stderr]) stream.destroy();
  };
  return { stdin, stdout, stderr, close };
}

function outputSource(client: StreamClient, id: GuestProcessId, name: "stdout" | "stderr", log: Logger): OutputSource {
  const poll = name === "stdout" ? client.readStdout : client.readStderr;
  const asked = (maxBytes: number, signal: AbortSignal) => poll(id, maxBytes, { signal, log });
  if (!client.openOutput) return { readAhead: READ_BYTES, read: asked, taken: () => {}, close: () => {} };
  let opened: Promise<GuestOutput | undefined> | undefined;
  let output: GuestOutput | undefined;
  let closed = false;
  return {
    readAhead: 0,
    read: async (maxBytes, signal) => {
      opened ??= Promise.resolve(client.openOutput?.(id, name, { signal, log }));
      output = await opened;
      if (closed) output?.close();
      return output ? output.read(signal) : asked(maxBytes, signal);
    },
    taken: (bytes) => output?.taken(bytes),
    close: () => {
      closed = true;
      output?.close();
    },
  };
}

/** Opened by the first write: most processes get no input. */
function inputTarget(client: StreamClient, id: GuestProcessId, log: Logger): InputTarget {
  let opened: Promise<GuestInput | undefined> | undefined;
  let input: GuestInput | undefined;
  let closed = false;
  return {
    write: async (data, signal) => {
      opened ??= Promise.resolve(client.openInput?.(id, { signal, log }));
      input = await opened;
      if (closed) input?.close();
      if (input) return input.write(data, signal);
      for (let taken = 0; taken < data.length; ) {
        taken += await client.writeStdin(id, data.subarray(taken, taken + WRITE_BYTES), { signal, log });
      }
    },
    end: (signal) => (input ? input.end(signal) : client.closeStdin(id, { signal, log })),
    close: () => {
      closed = true;
      input?.close();
    },
  };
}
