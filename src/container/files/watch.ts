import { onceAborted } from "../../base/deadline.ts";
import { isTapvisorError } from "../../base/errors.ts";
import type { FileEvent } from "../../contracts/agent-files.ts";
import type { FileAccess } from "./access.ts";

/** The longest a timer of Node can wait, some 24 days: events have no deadline. */
const LONGEST_WAIT = 2 ** 31 - 1;

/**
 * What happens in one directory, from the moment `ready` settles. It ends with its container, when the directory goes, at `close`, when its signal fires,
 * or when the loop over it is left.
 */
export class FileWatch implements AsyncIterable<FileEvent>, AsyncDisposable {
  /** Settles when events are noticed. @throws NOT_FOUND, FILE_FAILED ENOTDIR. */
  readonly ready: Promise<void>;
  readonly #access: FileAccess;
  readonly #watch: Promise<string>;
  readonly #stop = new AbortController();
  #closing: Promise<void> | undefined;

  constructor(access: FileAccess, path: string, signal: AbortSignal | undefined) {
    const place = access.place(path);
    this.#access = access;
    this.#watch = access.ask({ what: `the watch of ${JSON.stringify(path)}`, signal }, (files, call) => files.watch(place, call));
    this.ready = this.#watch.then(() => {});
    this.ready.catch(() => {}); // who iterates gets it
    if (signal) void onceAborted(AbortSignal.any([signal, this.#stop.signal])).then(() => this.close());
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<FileEvent, void, undefined> {
    const watch = await this.#watch;
    const { container } = this.#access;
    const request = { what: "the events of a watch", signal: this.#stop.signal, timeoutMs: LONGEST_WAIT };
    try {
      for (;;) {
        const { events, ended } = await this.#access.ask(request, (files, call) => files.nextEvents(container, watch, call));
        yield* events;
        if (ended) return;
      }
    } catch (error) {
      if (!this.#stop.signal.aborted && !isGone(error)) throw error;
    } finally {
      await this.close();
    }
  }

  /** Ends it; again is nothing. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#stop.abort();
    const watch = await this.#watch.catch(() => undefined);
    if (watch === undefined) return;
    const request = { what: "the end of a watch", signal: undefined };
    // Without its container, its guest or its reader a watch ends by itself.
    await this.#access.ask(request, (files, call) => files.unwatch(this.#access.container, watch, call)).catch(() => {});
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** The container has been removed while its events were waited for. */
function isGone(error: unknown): boolean {
  return isTapvisorError(error) && (error.code === "NOT_FOUND" || (error.code === "AGENT_FAILED" && error.data.status === "NOT_FOUND"));
}
