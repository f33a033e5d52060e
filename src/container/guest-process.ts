import { constants } from "node:os";
import { withDeadline } from "../base/deadline.ts";
import type { Logger } from "../base/log.ts";
import type { AgentClient, GuestProcessId } from "../contracts/agent.ts";
import type { Call } from "../contracts/holding.ts";
import { type GuestStreams, guestStreams, type StreamCalls } from "./guest-streams.ts";
import type { InputStream } from "./input-stream.ts";
import type { OutputStream } from "./output-stream.ts";

/** How a process ended. */
export interface ProcessEnd {
  /** As a shell reports it: 128 + n for signal n. */
  readonly exitCode: number;
  /** The kernel's out-of-memory killer has struck in its container. */
  readonly oomKilled?: true;
}

/** A process in the guest that this process follows: its streams and its end. */
export interface GuestProcess {
  readonly stdin: InputStream;
  readonly stdout: OutputStream;
  readonly stderr: OutputStream;
  /** Resolves when it has ended; rejects with AGENT_LOST. */
  readonly exited: Promise<ProcessEnd>;
  /** Lets go of it: pending requests are cancelled, the process itself goes on. */
  close(): void;
}

/** The longest a timer of Node can wait, some 24 days, ms. */
export const LONGEST_WAIT = 2 ** 31 - 1;

/** The calls by which a process is followed. */
export type FollowCalls = Pick<AgentClient, StreamCalls | "waitProcess" | "statsContainer">;

/**
 * Follows a process that has been started. `ahead`: its first output is asked for at once where each piece is asked for, and so is lost to a reader of
 * another process. `streams`: those that were made before the start.
 */
export function followProcess(
  client: FollowCalls,
  id: GuestProcessId,
  ahead: boolean,
  log: Logger,
  streams: GuestStreams = guestStreams(client, id, log),
): GuestProcess {
  const stop = new AbortController();
  const { stdin, stdout, stderr } = streams;
  if (ahead) for (const stream of [stdout, stderr]) stream.readAhead();
  const call = { signal: stop.signal, log };
  const exited = client.waitProcess(id, call).then(async (exitCode) => ({ exitCode, ...(await whetherOom(client, id, exitCode, call)) }));
  exited.catch(() => {}); // whoever waits gets it
  const close = () => {
    stop.abort();
    streams.close();
  };
  return { stdin, stdout, stderr, exited, close };
}

const KILLED = 128 + constants.signals.SIGKILL;
/** An end must not wait long for its reason, ms. */
const REASON_MS = 2_000;

/** A process that was killed may have been so for want of memory: the counters of its container tell. Without an answer it was not. */
async function whetherOom(client: FollowCalls, { container }: GuestProcessId, exitCode: number, call: Call): Promise<{ oomKilled?: true }> {
  if (exitCode !== KILLED) return {};
  const wait = { what: `the statistics of container "${container}"`, timeoutMs: REASON_MS, signal: call.signal };
  const stats = await withDeadline(wait, (signal) => client.statsContainer(container, { ...call, signal })).catch(() => undefined);
  return stats && stats.memory.oomKills > 0 ? { oomKilled: true } : {};
}
