import type { FileEvent } from "../../../contracts/agent-files.ts";
import { unlessAborted } from "../aborting.ts";

const MOST_WAITING = 1024;

/** The events of one directory of the fake world. */
export class FakeWatch {
  #waiting: FileEvent[] = [];
  #ended = false;
  #wake: () => void = () => {};

  add(event: FileEvent): void {
    const before = this.#waiting.at(-1);
    if (this.#ended || (before?.type === event.type && before.name === event.name)) return;
    this.#waiting.push(event);
    if (this.#waiting.length > MOST_WAITING) this.#waiting = [{ type: "overflow", name: "" }];
    this.#wake();
  }

  end(): void {
    this.#ended = true;
    this.#wake();
  }

  async next(signal: AbortSignal): Promise<{ readonly events: readonly FileEvent[]; readonly ended: boolean }> {
    while (this.#waiting.length === 0 && !this.#ended) {
      const more = new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      await unlessAborted(signal, "the events of a watch", more);
    }
    return { events: this.#waiting.splice(0), ended: this.#ended };
  }
}
