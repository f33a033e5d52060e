import { type AgentTarget, type Call, TapvisorError } from "tapvisor/plugin";
import type { FakeOperation, FakeVm, FakeWorld } from "tapvisor/testing";

/** One connection to the agent of a fake VM: it ends with the VM, when it is cut, or when it is closed. */
export class Connection {
  readonly vm: FakeVm;
  /** Settles with the reason when the connection ends; undefined after `close`. */
  readonly lost: Promise<Error | undefined>;
  readonly #world: FakeWorld;
  readonly #ended = new AbortController();
  #settle: (error: Error | undefined) => void = () => {};

  constructor(world: FakeWorld, vm: FakeVm) {
    this.vm = vm;
    this.#world = world;
    this.lost = new Promise((resolve) => {
      this.#settle = resolve;
    });
    vm.agentConnections.add(this);
  }

  lose(error: Error): void {
    this.#ended.abort(error);
    this.#settle(error);
  }

  close(): void {
    this.vm.agentConnections.delete(this);
    this.#settle(undefined);
    this.#ended.abort(agentLost(this.vm.intent.sandbox, "the connection is closed"));
  }

  /** Runs one call; a paused guest answers when it has been resumed. @throws AGENT_LOST at once when the connection is gone. */
  call<T>(operation: FakeOperation, container: string | undefined, call: Call, work: (signal: AbortSignal) => T | Promise<T>): Promise<T> {
    const subject = { sandbox: this.vm.intent.sandbox, ...(container === undefined ? {} : { container }) };
    const signal = AbortSignal.any([this.#ended.signal, call.signal]);
    return this.#world.perform(operation, subject, signal, () => this.vm.whenRunning(signal, () => work(signal)));
  }
}

/** The running VM that an endpoint names. @throws UNSUPPORTED for one that is not in memory, AGENT_LOST when it does not run. */
export function vmOf(world: FakeWorld, { endpoint }: AgentTarget): FakeVm {
  if (endpoint.kind !== "memory") {
    throw new TapvisorError("UNSUPPORTED", `Cannot reach an agent by ${endpoint.kind}: the fake agent lives in memory only`, {
      data: { what: `endpoint ${endpoint.kind}`, by: "agent-fake" },
      hint: "use the fake hypervisor with it",
    });
  }
  const vm = world.vm(endpoint.sandbox);
  if (vm && vm.state !== "ended") return vm;
  throw agentLost(endpoint.sandbox, "its VM does not run in this fake world");
}

function agentLost(id: string, reason: string): TapvisorError {
  return new TapvisorError("AGENT_LOST", `Cannot reach the agent of sandbox "${id}": ${reason}`, { data: { id } });
}
