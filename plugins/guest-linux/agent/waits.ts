/** Ends a wait, with what failed if anything did. */
export type Done = (error?: Error | null) => void;

/** The waits of one long piece of work, one at a time, under one listener of its signal: a listener for each wait costs more than what is waited for. */
export class Waits {
  readonly #signal: AbortSignal;
  #done: Done = () => {};

  constructor(signal: AbortSignal) {
    this.#signal = signal;
    signal.addEventListener("abort", () => this.#done(), { once: true });
  }

  /** Begins something and resolves when it calls back. @throws the signal's reason when that has fired, else what it calls back with. */
  async until(begin: (done: Done) => void): Promise<void> {
    this.#signal.throwIfAborted();
    const error = await new Promise<Error | null | undefined>((resolve) => {
      this.#done = resolve;
      begin(resolve);
    });
    this.#signal.throwIfAborted();
    if (error) throw error;
  }
}
