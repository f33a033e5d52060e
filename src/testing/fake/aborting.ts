import { isTapvisorError, TapvisorError } from "../../base/errors.ts";

/** What a call rejects with when its signal has fired: the reason if that is one of our errors, ABORTED otherwise. */
function abortError(signal: AbortSignal, what: string): Error {
  if (isTapvisorError(signal.reason)) return signal.reason;
  return new TapvisorError("ABORTED", `Cannot finish ${what}: the caller gave up`, { data: { what }, cause: signal.reason });
}

/** The result of `work`, unless the signal fires first. @throws ABORTED. */
export async function unlessAborted<T>(signal: AbortSignal, what: string, work: Promise<T>): Promise<T> {
  work.catch(() => {}); // it may fail after the signal has won
  let onAbort: () => void = () => {};
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(abortError(signal, what));
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort, { once: true });
  });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

/** @throws ABORTED when the signal has fired. */
export function throwIfSignalled(signal: AbortSignal, what: string): void {
  if (signal.aborted) throw abortError(signal, what);
}

/** Whether a call has failed because its signal has fired. */
export function isAbort(error: unknown, signal: AbortSignal): boolean {
  return signal.aborted && (error === signal.reason || (isTapvisorError(error) && error.code === "ABORTED"));
}
