import { type FSWatcher, watch } from "node:fs";
import type { FileEventMessage, FileEventsMessage } from "tapvisor/protocol";

/** More events than this wait for nobody: from there on it is only said that some were lost. */
const MOST_WAITING = 1024;
/** How long a watch waits to be asked: then its reader is taken to have gone, ms. */
const IDLE_MS = 60_000;

const OVERFLOW: FileEventMessage = { type: "OVERFLOW", name: "" };

/** The events of one directory, from inotify, kept until they are asked for. */
export class DirectoryWatch {
  readonly #watcher: FSWatcher;
  #waiting: FileEventMessage[] = [];
  #ended = false;
  #wake: () => void = () => {};
  #idle: NodeJS.Timeout | undefined;
  #gone: () => void = () => {};

  /** `path` is looked at once: what is watched is the directory itself, whatever becomes of its name. */
  constructor(path: string) {
    this.#watcher = watch(`${path}/.`, { encoding: "utf8" });
    this.#watcher.on("change", (type, name) => {
      // What happens to the directory itself has the last part of the path for its name.
      if (name !== ".") this.#add({ type: type === "rename" ? "RENAME" : "CHANGE", name: String(name ?? "") });
      else if (type === "rename") this.end();
    });
    this.#watcher.on("error", () => this.end());
  }

  /** The first events there are. @throws the signal's reason. */
  async next(signal: AbortSignal): Promise<FileEventsMessage> {
    clearTimeout(this.#idle);
    while (this.#waiting.length === 0 && !this.#ended) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        signal.addEventListener("abort", () => resolve(), { once: true });
        if (signal.aborted) resolve();
      });
      if (signal.aborted) this.onIdle(this.#gone);
      signal.throwIfAborted();
    }
    const events = this.#waiting;
    this.#waiting = [];
    this.onIdle(this.#gone);
    return { events, ended: this.#ended };
  }

  /** Events that have not got through are for the next who asks. */
  giveBack(events: readonly FileEventMessage[]): void {
    this.#waiting.unshift(...events);
    this.#bound();
  }

  /** Calls `gone` when nobody asks any more. */
  onIdle(gone: () => void): void {
    this.#gone = gone;
    clearTimeout(this.#idle);
    this.#idle = setTimeout(gone, IDLE_MS);
    this.#idle.unref();
  }

  /** Nothing will happen any more; what has is still there to be asked for. */
  end(): void {
    this.#ended = true;
    this.#watcher.close();
    this.#wake();
  }

  async close(): Promise<void> {
    clearTimeout(this.#idle);
    this.end();
  }

  #add(event: FileEventMessage): void {
    if (this.#ended) return;
    const before = this.#waiting.at(-1);
    if (before?.type === event.type && before.name === event.name) return; // a write of many pieces is one change to who has not looked yet
    this.#waiting.push(event);
    this.#bound();
    this.#wake();
  }

  #bound(): void {
    if (this.#waiting.length > MOST_WAITING) this.#waiting = [OVERFLOW];
  }
}
