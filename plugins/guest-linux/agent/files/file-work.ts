import { StatusError } from "../status.ts";

/** What outlives the call that made it: a file that is written piece by piece, a watch. */
export interface Kept {
  close(): Promise<void>;
}

/** At once, a container. */
const MOST_RUNNING = 64;
const MOST_KEPT = 64;

/** What goes on with a container's files: all of it has ended, and holds nothing open, before the container's mounts are given back. */
export class FileWork {
  readonly #over = new AbortController();
  readonly #running = new Set<Promise<unknown>>();
  readonly #kept = new Map<string, Kept>();

  /** @throws FAILED_PRECONDITION when the container is being removed, RESOURCE_EXHAUSTED. */
  async run<T>(signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    if (this.#over.signal.aborted) throw new StatusError("FAILED_PRECONDITION", "Cannot use the container's files: it is being removed");
    if (this.#running.size >= MOST_RUNNING)
      throw new StatusError("RESOURCE_EXHAUSTED", `Cannot use the container's files: ${MOST_RUNNING} calls do already`);
    const running = work(AbortSignal.any([signal, this.#over.signal]));
    this.#running.add(running);
    try {
      return await running;
    } finally {
      this.#running.delete(running);
    }
  }

  /** @throws RESOURCE_EXHAUSTED; the caller closes it then. */
  keep(id: string, kept: Kept): void {
    if (this.#kept.size >= MOST_KEPT)
      throw new StatusError("RESOURCE_EXHAUSTED", `Cannot use the container's files: ${MOST_KEPT} are being written or watched already`);
    this.#kept.set(id, kept);
  }

  kept(id: string): Kept | undefined {
    return this.#kept.get(id);
  }

  /** Forgets it, and says whether it was there. */
  drop(id: string): boolean {
    return this.#kept.delete(id);
  }

  /** Ends all of it. */
  async close(): Promise<void> {
    this.#over.abort(new StatusError("CANCELLED", "The container is being removed"));
    await Promise.allSettled(this.#running);
    const kept = [...this.#kept.values()];
    this.#kept.clear();
    await Promise.all(kept.map((each) => each.close()));
  }
}
