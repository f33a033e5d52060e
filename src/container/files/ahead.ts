/** Works on up to `most` items at once and gives the results in the order of the items. When the reader stops, what runs is waited for. */
export async function* ahead<T, R>(
  items: AsyncIterable<T> | Iterable<T>,
  most: number,
  work: (item: T) => Promise<R>,
): AsyncGenerator<R, void, undefined> {
  const running: Promise<R>[] = [];
  try {
    for await (const item of items) {
      const begun = work(item);
      begun.catch(() => {}); // it is awaited in its turn
      running.push(begun);
      if (running.length >= most) yield await (running.shift() as Promise<R>);
    }
    for (let next = running.shift(); next; next = running.shift()) yield await next;
  } finally {
    await Promise.allSettled(running);
  }
}
