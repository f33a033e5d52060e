import { onceAborted, throwIfAborted } from "../../base/deadline.ts";

/** The chunks of a caller's source. It ends with ABORTED when the signal fires, also while the source says nothing; what the source throws is the caller's own. */
export async function* chunksOf<T>(
  source: AsyncIterable<T> | Iterable<T>,
  what: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<T, void, undefined> {
  const iterator = Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]();
  const aborted = signal && onceAborted(signal);
  let isOver = false;
  try {
    for (;;) {
      const next = Promise.resolve(iterator.next());
      await (aborted ? Promise.race([next, aborted]) : next);
      throwIfAborted(signal, what);
      const { done, value } = await next;
      isOver = done === true;
      if (isOver) return;
      yield value as T;
    }
  } finally {
    // Not awaited: a generator that waits for something answers when that has come.
    if (!isOver) void Promise.resolve(iterator.return?.()).catch(() => {});
  }
}
