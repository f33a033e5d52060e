import { withDeadline } from "../../base/deadline.ts";
import { toError } from "../../base/errors.ts";
import type { Batch, YamuxStream } from "./stream.ts";

/** What is written at once: enough to make the call worth its cost, little enough that a ping need not wait long. */
const BATCH_BYTES = 262_144;
/** Answers waiting for a peer that does not read them. An honest one waits for its answers; see `control`. */
const MAX_CONTROL_FRAMES = 1024;
const LAST_FRAME_TIMEOUT_MS = 1000;

/** Where a session's bytes go. */
export interface SessionOutput {
  /** Takes frames in order; resolves when more may come. Called again only then. Rejects when the other side is gone. */
  write(frames: readonly Buffer[]): Promise<void>;
  /** Lets go of the connection; called once, after the last write. */
  close(): void;
}

/**
 * Writes a session's frames: control frames first, then one frame of each ready stream in turn.
 *
 * One write is under way at a time; whatever becomes ready meanwhile goes out with the next, so small writes batch by themselves.
 */
export class Sender {
  readonly #output: SessionOutput;
  readonly #onError: (error: Error) => void;
  #control: Buffer[] = [];
  #round: YamuxStream[] = [];
  #writing: Promise<void> | undefined;
  #stopped = false;

  constructor(output: SessionOutput, onError: (error: Error) => void) {
    this.#output = output;
    this.#onError = onError;
  }

  /** Queues a frame that belongs to no stream's data; false when too many wait: the peer asks and does not read. */
  control(frame: Buffer): boolean {
    if (this.#stopped) return true;
    this.#control.push(frame);
    this.#wake();
    return this.#control.length <= MAX_CONTROL_FRAMES;
  }

  ready(stream: YamuxStream): void {
    if (this.#stopped || stream.queued) return;
    stream.queued = true;
    this.#round.push(stream);
    this.#wake();
  }

  /** Drops what is queued, writes one last frame if given (1 s at most), and closes the output. Never rejects. */
  async finish(last: Buffer | undefined): Promise<void> {
    this.#stopped = true;
    this.#control = [];
    this.#round = [];
    const write = async () => {
      await this.#writing;
      if (last) await this.#output.write([last]);
    };
    await withDeadline({ what: "the last frame of a session", timeoutMs: LAST_FRAME_TIMEOUT_MS }, write).catch(() => {});
    this.#output.close();
  }

  #wake(): void {
    // Not at once: what the same turn of the program still adds goes out with it.
    this.#writing ??= Promise.resolve().then(() => this.#writeAll());
  }

  async #writeAll(): Promise<void> {
    try {
      for (let batch = this.#collect(); batch.frames.length > 0; batch = this.#collect()) {
        await this.#output.write(batch.frames);
        for (const tell of batch.sent) tell();
      }
      this.#writing = undefined;
    } catch (error) {
      this.#onError(toError(error));
    }
  }

  #collect(): Batch {
    const batch: Batch = { frames: this.#control, bytes: 0, sent: [] };
    this.#control = [];
    while (batch.bytes < BATCH_BYTES) {
      const stream = this.#round.shift();
      if (!stream) break;
      stream.queued = false;
      if (stream.destroyed || !stream.hasFrame) continue;
      stream.takeFrame(batch);
      if (stream.hasFrame) {
        stream.queued = true;
        this.#round.push(stream);
      }
    }
    return batch;
  }
}
