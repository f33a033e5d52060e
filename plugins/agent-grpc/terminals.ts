import type { GuestProcessId } from "tapvisor/plugin";

/**
 * The processes started here that have a terminal. A Kata agent answers ReadStderr of such a process with the terminal's output, which would be missing
 * from its standard output then: so it is not asked.
 */
export class Terminals {
  readonly #execs = new Map<string, Set<string>>();

  add({ container, exec }: GuestProcessId): void {
    const execs = this.#execs.get(container) ?? new Set();
    this.#execs.set(container, execs.add(exec || container));
  }

  has({ container, exec }: GuestProcessId): boolean {
    return this.#execs.get(container)?.has(exec || container) ?? false;
  }

  /** The container is gone, and its processes with it. */
  forget(container: string): void {
    this.#execs.delete(container);
  }
}
