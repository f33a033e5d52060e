import { type Json, TapvisorError } from "tapvisor/plugin";

/**
 * The records and locks of one or more stores in this process. A store made on it sees what another one wrote: a second engine on the same
 * state stands for a later process.
 */
export class MemoryState {
  readonly #records = new Map<string, string>();
  readonly #locks = new Map<string, Promise<void>>();

  /** Text, so that nobody shares an object with the store. */
  get(id: string): Json | undefined {
    const text = this.#records.get(id);
    return text === undefined ? undefined : (JSON.parse(text) as Json);
  }

  set(id: string, record: Json): void {
    this.#records.set(id, JSON.stringify(record));
  }

  has(id: string): boolean {
    return this.#records.has(id);
  }

  delete(id: string): void {
    this.#records.delete(id);
  }

  ids(): readonly string[] {
    return [...this.#records.keys()].sort();
  }

  /** Waits for the lock; the result gives it back, once. @throws LOCKED when the signal fires first. */
  async lock(id: string, signal: AbortSignal): Promise<() => void> {
    for (;;) {
      if (signal.aborted) throw locked(id);
      const other = this.#locks.get(id);
      if (!other) break;
      await eitherOf(other, signal);
    }
    let settle: () => void = () => {};
    const mine = new Promise<void>((resolve) => {
      settle = resolve;
    });
    this.#locks.set(id, mine);
    return () => {
      if (this.#locks.get(id) === mine) this.#locks.delete(id);
      settle();
    };
  }
}

async function eitherOf(released: Promise<void>, signal: AbortSignal): Promise<void> {
  let onAbort: () => void = () => {};
  const aborted = new Promise<void>((resolve) => {
    onAbort = resolve;
    signal.addEventListener("abort", onAbort, { once: true });
  });
  await Promise.race([released, aborted]);
  signal.removeEventListener("abort", onAbort);
}

function locked(id: string): TapvisorError {
  return new TapvisorError("LOCKED", `Cannot lock sandbox "${id}": another engine of this process holds the lock, wanted it free in time`, {
    data: { id, holder: process.pid },
    hint: "wait for that operation to finish",
  });
}
