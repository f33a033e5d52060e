import { watch } from "node:fs";
import { onceAborted } from "tapvisor/plugin";

/**
 * Looks again each time something in the file or directory `path` changes, until `look` answers something. The watch begins before the first look, so
 * that what `look` itself sets off is seen too.
 * @throws the signal's reason when that fires first.
 */
export async function watchUntil<T>(path: string, look: () => Promise<T | undefined>, signal: AbortSignal): Promise<T> {
  const watcher = watch(path);
  let wake = () => {};
  watcher.on("change", () => wake());
  watcher.on("error", () => wake());
  const ended = onceAborted(signal);
  try {
    for (;;) {
      const changed = new Promise<void>((resolve) => {
        wake = resolve;
      });
      const found = await look();
      if (found !== undefined) return found;
      await Promise.race([changed, ended]);
      signal.throwIfAborted();
    }
  } finally {
    watcher.close();
  }
}
