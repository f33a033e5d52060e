import { onceAborted, throwIfAborted } from "./deadline.ts";

/** Runs one piece of work at a time, in the order of arrival. */
export class Mutex {
  #tail: Promise<unknown> = Promise.resolve();

  /** Runs `work` when all earlier work has settled. A fired `signal` gives up the place in the queue (ABORTED), never the work itself. */
  async run<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const before = this.#tail;
    let done: () => void = () => {};
    const mine = new Promise<void>((resolve) => {
      done = resolve;
    });
    this.#tail = before.then(() => mine);
    try {
      await (signal ? Promise.race([before, onceAborted(signal)]) : before);
      throwIfAborted(signal, "waiting for an earlier operation");
      return await work();
    } finally {
      done();
    }
  }
}
