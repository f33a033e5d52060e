import { mkdir, rm, unlink } from "node:fs/promises";
import { join } from "node:path";
import { Mutex } from "tapvisor/plugin";
import type { RunTool } from "../runtime/run-tool.ts";

const BATCH = 32;

/**
 * Named pipes made ready. A process's streams must be real pipes: those of Node's `spawn` are sockets, and then `/dev/stdout` cannot be opened in
 * the container. Node cannot make a pipe; busybox can, and one run of it makes many.
 */
export class FifoPool {
  readonly #directory: string;
  readonly #run: RunTool;
  readonly #turns = new Mutex();
  #ready: string[] = [];
  #made = 0;

  constructor(directory: string, run: RunTool) {
    this.#directory = directory;
    this.#run = run;
  }

  /** Makes a batch when there is none, so that the next `take` need not wait. */
  warm(): Promise<void> {
    return this.#turns.run(async () => {
      if (this.#ready.length === 0) await this.#make();
    });
  }

  /** Paths of `count` fresh named pipes; the caller opens and unlinks them. */
  take(count: number): Promise<readonly string[]> {
    return this.#turns.run(async () => {
      if (this.#ready.length < count) await this.#make();
      return this.#ready.splice(0, count);
    });
  }

  /** Removes those that were never taken. */
  async clear(): Promise<void> {
    await this.#turns.run(async () => {
      await Promise.all(this.#ready.splice(0).map((path) => unlink(path).catch(() => {})));
      await rm(this.#directory, { recursive: true, force: true });
    });
  }

  async #make(): Promise<void> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    const paths = Array.from({ length: BATCH }, () => join(this.#directory, String(this.#made++)));
    await this.#run(["mkfifo", "-m", "600", ...paths]);
    this.#ready.push(...paths);
  }
}
