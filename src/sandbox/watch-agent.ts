import { setTimeout as delay } from "node:timers/promises";
import { withDeadline } from "../base/deadline.ts";
import type { Logger } from "../base/log.ts";
import { DEADLINES } from "../config/defaults.ts";
import type { AgentClient } from "../contracts/agent.ts";
import type { Vm } from "../contracts/hypervisor.ts";

/** How long nothing may be heard of an agent before it is asked whether it still serves, ms. */
const QUIET_MS = 10_000;
/** Pauses before it is asked again when it did not answer, ms: a guest under load is slow, not dead. */
const AGAIN_MS = [1_000, 2_000, 4_000] as const;

export interface AgentWatch {
  /** Something came from the agent: it lives. */
  heard(): void;
  stop(): void;
}

/**
 * Watches over an agent that may hang: its connection tells of its end, but not that it does nothing any more. One that was not heard of for 10 s is
 * asked (Check), four times with growing pauses; each question has 15 s. A VM that is paused is no hung agent.
 */
export function watchAgent(client: AgentClient, vm: Vm, log: Logger, onHung: (cause: unknown) => void): AgentWatch {
  const stopped = new AbortController();
  let last = performance.now();
  const watch = async () => {
    for (;;) {
      const quiet = performance.now() - last;
      // The timer keeps no script alive.
      await delay(Math.max(0, QUIET_MS - quiet) + 1, undefined, { signal: stopped.signal, ref: false });
      if (performance.now() - last < QUIET_MS) continue;
      const failure = await ask(client, vm, stopped.signal, log);
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
async function ask(client: AgentClient, vm: Vm, signal: AbortSignal, log: Logger): Promise<unknown> {
  let failure: unknown;
  for (const pause of [0, ...AGAIN_MS]) {
    await delay(pause, undefined, { signal, ref: false });
    const wait = { what: "the agent to say that it serves", timeoutMs: DEADLINES.check, signal };
    const answer = await withDeadline(wait, (inner) => client.check({ signal: inner, log })).catch((error: unknown) => ({ error }));
    signal.throwIfAborted();
    if (answer === undefined) return undefined;
    failure = answer.error;
    if ((await stateOf(vm, signal, log)) === "paused") return undefined;
    log.warn({ reason: String(failure) }, "the guest's agent does not answer");
  }
  return failure;
}

async function stateOf(vm: Vm, signal: AbortSignal, log: Logger): Promise<Awaited<ReturnType<Vm["status"]>> | undefined> {
  const wait = { what: "the VM's state", timeoutMs: DEADLINES.check, signal };
  return withDeadline(wait, (inner) => vm.status({ signal: inner, log })).catch(() => undefined);
}
