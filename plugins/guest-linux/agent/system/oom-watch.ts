import { type FSWatcher, watch } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { GuestContainer } from "../container/guest-container.ts";
import { StatusError } from "../status.ts";

/** What is known of one container. */
interface Watched {
  readonly file: string;
  readonly watcher: FSWatcher;
  /** How often the kernel had killed when it was last looked at. */
  seen: number;
}

interface Waiter {
  readonly resolve: (id: string) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Tells of containers in which the kernel killed a process because memory ran out: inotify says that `memory.events` has changed. Nothing is watched until
 * somebody has asked once; what had happened by then counts. Each event goes to one who waits, the longest waiting first, or is kept for the next.
 */
export class OomWatch {
  readonly #watched = new Map<string, Watched>();
  readonly #waiting = new Set<Waiter>();
  /** Those that nobody has been told of, each once. */
  readonly #untold = new Set<string>();
  #begun = false;

  /** Watches all containers from now on. Again is nothing. */
  async begin(containers: Iterable<GuestContainer>): Promise<void> {
    if (this.#begun) return;
    this.#begun = true;
    await Promise.all([...containers].map((container) => this.watch(container)));
  }

  /** A new container. Never rejects: one without such a file, for it is gone or has no memory controller, has no such events. */
  async watch({ id, files }: GuestContainer): Promise<void> {
    if (!this.#begun || this.#watched.has(id)) return;
    const file = join(files.cgroup, "memory.events");
    let watcher: FSWatcher;
    try {
      watcher = watch(file);
    } catch {
      return;
    }
    const watched = { file, watcher, seen: 0 };
    this.#watched.set(id, watched);
    watcher.on("change", () => void this.#look(id, watched));
    watcher.on("error", () => watcher.close());
    await this.#look(id, watched);
  }

  /** A container that is about to go: the kernel may tell of its last event later than it happens. */
  async forget(id: string): Promise<void> {
    const watched = this.#watched.get(id);
    if (!watched) return;
    this.#watched.delete(id);
    watched.watcher.close();
    await this.#look(id, watched);
  }

  /** @throws NOT_FOUND when the sandbox goes, the signal's reason when that fires. */
  next(signal: AbortSignal): Promise<string> {
    signal.throwIfAborted();
    const [id] = this.#untold;
    if (id !== undefined) {
      this.#untold.delete(id);
      return Promise.resolve(id);
    }
    return new Promise((resolve, reject) => {
      const leave = (then: () => void) => {
        this.#waiting.delete(waiter);
        signal.removeEventListener("abort", onAbort);
        then();
      };
      const waiter: Waiter = { resolve: (told) => leave(() => resolve(told)), reject: (error) => leave(() => reject(error)) };
      const onAbort = () => waiter.reject(signal.reason);
      signal.addEventListener("abort", onAbort, { once: true });
      this.#waiting.add(waiter);
    });
  }

  /** The one who was told did not hear it. */
  putBack(id: string): void {
    const [waiter] = this.#waiting;
    if (waiter) waiter.resolve(id);
    else this.#untold.add(id);
  }

  /** The sandbox goes, and with it all events. */
  end(): void {
    for (const { watcher } of this.#watched.values()) watcher.close();
    this.#watched.clear();
    this.#untold.clear();
    this.#begun = false;
    for (const waiter of [...this.#waiting])
      waiter.reject(new StatusError("NOT_FOUND", "The sandbox is gone, and nothing of it is waited for"));
  }

  async #look(id: string, watched: Watched): Promise<void> {
    const text = await readFile(watched.file, "utf8").catch(() => "");
    const kills = Number(/^oom_kill (\d+)$/m.exec(text)?.[1] ?? 0);
    if (kills <= watched.seen) return;
    watched.seen = kills;
    if (this.#begun) this.putBack(id);
  }
}
