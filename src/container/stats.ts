import { setTimeout as delay } from "node:timers/promises";
import { withDeadline } from "../base/deadline.ts";
import { TapvisorError } from "../base/errors.ts";
import { DEADLINES } from "../config/defaults.ts";
import type { ContainerStats } from "../contracts/stats.ts";
import type { SandboxContext } from "../engine/context.ts";
import { requireSandbox } from "../sandbox/state.ts";
import { requireContainer } from "./state.ts";

/** A reading with the time at which it was taken. */
export interface TimedStats extends ContainerStats {
  /** Milliseconds since 1970, by the host's clock. */
  readonly at: number;
}

/** What a container has used so far; also before its start and after its end. */
export async function readStats(sb: SandboxContext, id: string, signal: AbortSignal | undefined): Promise<ContainerStats> {
  requireSandbox(sb, "read the statistics of the container", "ready", "running");
  requireContainer(sb, id, "read the statistics of the container", "ready", "running", "paused", "stopped");
  const wait = { what: `the statistics of container "${id}"`, timeoutMs: DEADLINES.agent, signal };
  return withDeadline(wait, (inner) => sb.guest.client.statsContainer(id, { signal: inner, log: sb.log }));
}

/** Readings one after another until the container has ended, the signal fires or the reader stops; the last one is of its end. */
export async function* watchStats(
  sb: SandboxContext,
  id: string,
  { intervalMs = 1_000, signal }: { readonly intervalMs?: number; readonly signal?: AbortSignal | undefined },
): AsyncGenerator<TimedStats, void, undefined> {
  if (!Number.isInteger(intervalMs) || intervalMs < 10) {
    throw new TapvisorError("INVALID_INPUT", `Cannot read statistics every ${intervalMs} ms: wanted whole milliseconds, at least 10`, {
      data: { path: "intervalMs", value: intervalMs, wanted: "whole milliseconds, at least 10" },
    });
  }
  for (;;) {
    const ended = sb.journal.record.containers[id]?.state === "stopped";
    yield { at: Date.now(), ...(await readStats(sb, id, signal)) };
    if (ended) return;
    // Nothing announces that a counter has changed: this is a clock's job. An end makes the last reading come at once.
    const exited = sb.processes.get(id)?.exited.catch(() => {});
    const stop = new AbortController();
    const pause = delay(intervalMs, undefined, { signal: signal ? AbortSignal.any([signal, stop.signal]) : stop.signal }).catch(() => {});
    await Promise.race([pause, ...(exited ? [exited] : [])]);
    stop.abort();
    if (signal?.aborted) return;
  }
}
