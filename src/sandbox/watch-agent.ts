import { setTimeout as delay } from "node:timers/promises";
import { withDeadline } from "../base/deadline.ts";
import type { Logger } from "../base/log.ts";
import { DEADLINES } from "../config/defaults.ts";
import type { AgentClient } from "../contracts/agent.ts";
import type { Vm } from "../contracts/hypervisor.ts";

export interface Pace {
  /** How long nothing may be heard of an agent before it is asked whether it still serves, ms. */
  readonly quietMs: number;
  /** How long it has for an answer, ms. */
  readonly answerMs: number;
  /** Pauses before it is asked again when it did not answer, ms: a guest under load is slow, not dead. */
  readonly againMs: readonly number[];
}

const PACE: Pace = { quietMs: 10_000, answerMs: DEADLINES.check, againMs: [1_000, 2_000, 4_000] };

export interface AgentWatch {
  /** Something came from the agent: it lives. */
  heard(): void;
  stop(): void;
}

/**
 * Watches over an agent that may hang: its connection tells of its end, but not that it does nothing any more. One that was not heard of for 10 s is
 * asked (Check), four times with growing pauses; each question has 15 s. A VM that is paused is no hung agent.
 */
export function watchAgent(
  client: Pick<AgentClient, "check">,
  vm: Pick<Vm, "status">,
  log: Logger,
  onHung: (cause: unknown) => void,
  pace = PACE,
): AgentWatch {
  const stopped = new AbortController();
  let last = performance.now();
  const watch = async () => {
    for (;;) {
      const quiet = performance.now() - last;
      // The timer keeps no script alive.
      await delay(Math.max(0, pace.quietMs - quiet) + 1, undefined, { signal: stopped.signal, ref: false });
      if (performance.now() - last < pace.quietMs) continue;
      const failure = await ask(client, vm, stopped.signal, log, pace);
      if (failure !== undefined) return onHung(failure);
      last = performance.now();
    }
  };
  watch().catch(() => {}); // stopped
  return {
    heard: () => {
      last = performance.now();
    },
    stop: () => stopped.abort(),
  };
}

/** Why the agent counts as hung; `undefined` when it answers, or may not be able to. */
async function ask(
  client: Pick<AgentClient, "check">,
  vm: Pick<Vm, "status">,
  signal: AbortSignal,
  log: Logger,
  { answerMs, againMs }: Pace,
): Promise<unknown> {
  let failure: unknown;
  for (const pause of [0, ...againMs]) {
    await delay(pause, undefined, { signal, ref: false });
    const wait = { what: "the agent to say that it serves", timeoutMs: answerMs, signal };
    const answer = await withDeadline(wait, (inner) => client.check({ signal: inner, log })).catch((error: unknown) => ({ error }));
    signal.throwIfAborted();
    if (answer === undefined) return undefined;
    failure = answer.error;
    if ((await stateOf(vm, signal, log, answerMs)) === "paused") return undefined;
    log.warn({ reason: String(failure) }, "the guest's agent does not answer");
  }
  return failure;
}

async function stateOf(
  vm: Pick<Vm, "status">,
  signal: AbortSignal,
  log: Logger,
  timeoutMs: number,
): Promise<Awaited<ReturnType<Vm["status"]>> | undefined> {
  const wait = { what: "the VM's state", timeoutMs, signal };
  return withDeadline(wait, (inner) => vm.status({ signal: inner, log })).catch(() => undefined);
}
