import { TapvisorError } from "../../base/errors.ts";
import { unlessAborted } from "./aborting.ts";
import type { FakeOperation } from "./operations.ts";

/** How the next call of an operation goes wrong. */
export interface FakeFault {
  /** Before it had any effect, or after it had all of it. */
  readonly when: "before" | "after";
  /** What it throws; by default what a real backend would. */
  readonly error?: Error;
  /** It does not answer at all: the call ends when its signal fires. */
  readonly hang?: boolean;
}

/** The faults that wait for their call, first in first out for each operation. */
export class FaultQueue {
  readonly #waiting: { readonly operation: FakeOperation; readonly fault: FakeFault }[] = [];

  add(operation: FakeOperation, fault: FakeFault): void {
    this.#waiting.push({ operation, fault });
  }

  take(operation: FakeOperation): FakeFault | undefined {
    const index = this.#waiting.findIndex((each) => each.operation === operation);
    return index < 0 ? undefined : this.#waiting.splice(index, 1)[0]?.fault;
  }

  get unused(): readonly FakeOperation[] {
    return this.#waiting.map(({ operation }) => operation);
  }
}

/** Makes the fault happen; never returns. */
export async function strike(operation: FakeOperation, fault: FakeFault, signal: AbortSignal): Promise<never> {
  if (fault.hang) return unlessAborted(signal, operation, new Promise<never>(() => {}));
  throw fault.error ?? defaultError(operation, fault.when);
}

function defaultError(operation: FakeOperation, when: string): TapvisorError {
  const text = `Cannot finish ${operation}: a fault was injected ${when} it`;
  if (operation.startsWith("agent.")) {
    return new TapvisorError("AGENT_FAILED", text, { data: { method: operation.slice("agent.".length), status: "INTERNAL" } });
  }
  if (operation.startsWith("guest.")) return new TapvisorError("HOST_MISSING", text, { data: { what: operation } });
  return new TapvisorError("VM_COMMAND_FAILED", text, { data: { command: operation, class: "GenericError" } });
}
