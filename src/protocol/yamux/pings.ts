import { withDeadline } from "../../base/deadline.ts";
import { encodeHeader, FLAG, TYPE } from "./codec.ts";

/** Values above this are kept for announcing a session; see resync.ts. */
const MAX_VALUE = 0x7fff_ffff;

export interface PingOptions {
  /** 5 s by default. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** A session's own pings that wait for their echoes. */
export class Pings {
  readonly #waiting = new Map<number, () => void>();
  #next = 1;

  /** Sends a ping and resolves with the time until its echo, ms. Rejects like `ended`, which never resolves. @throws TIMEOUT, ABORTED */
  async send(write: (frame: Buffer) => void, ended: () => Promise<never>, { timeoutMs = 5000, signal }: PingOptions): Promise<number> {
    const value = this.#next;
    this.#next = value === MAX_VALUE ? 1 : value + 1;
    const start = performance.now();
    try {
      await withDeadline({ what: "the echo of a ping", timeoutMs, signal }, () => {
        const echoed = new Promise<void>((resolve) => this.#waiting.set(value, resolve));
        write(encodeHeader(TYPE.ping, FLAG.syn, 0, value));
        return Promise.race([echoed, ended()]);
      });
    } finally {
      this.#waiting.delete(value);
    }
    return performance.now() - start;
  }

  /** Takes an echo; one that nobody waits for is nothing. */
  echoed(value: number): void {
    this.#waiting.get(value)?.();
  }
}
