/** Waits for an event that is not for this caller alone. @throws the signal's reason when that fires first. */
export function until<T>(event: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort, { once: true });
    event.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}
