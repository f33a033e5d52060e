import { encodeHeader, FLAG, TYPE } from "./codec.ts";
import { AnnouncementScanner, answer } from "./resync.ts";
import { YamuxSession } from "./session.ts";

/** Says that somebody else has answered an announcement, and that what follows belongs to the session which began with it. */
export const SESSION_BEGUN = Symbol("a session has begun");

/** The guest's end of a serial port. */
export interface BytePort {
  /**
   * What arrives, in order; each buffer is given away, never filled again. An empty buffer says that no host is connected (a read of
   * 0 bytes); the next one is asked for only when a host is back. Ends when the port is closed.
   *
   * `owed` tells how many bytes are still to come of a frame that the host has begun: they follow without a word of the guest, so a port where it is
   * cheaper to wait for them on the spot may do that.
   */
  read(owed: () => number): AsyncIterable<Buffer | typeof SESSION_BEGUN>;
  /** Writes all of them in order, and resolves when that is done; waits while no host is connected. Called again only then. */
  write(frames: readonly Buffer[]): Promise<void>;
}

export interface AcceptOptions {
  /** Of each session; 256 by default. */
  readonly maxStreams?: number;
}

/**
 * Serves a port for as long as it is open: calls `onSession` with a new session (server role) for each host connection, and ends the one
 * before. Set the session's `onStream` in the call. Sessions begin as resync.ts says; a client that does not announce itself is served too, and
 * `announced` is false then: it is not one of ours.
 *
 * Resolves when `port.read()` ends, rejects with what it throws; either way the last session has ended then.
 */
export async function acceptSessions(
  port: BytePort,
  onSession: (session: YamuxSession, announced: boolean) => void,
  options: AcceptOptions = {},
): Promise<void> {
  const acceptor = new Acceptor(port, onSession, options);
  try {
    for await (const chunk of port.read(() => acceptor.owed)) {
      if (chunk === SESSION_BEGUN) acceptor.adopt();
      else if (chunk.length > 0) acceptor.take(chunk);
      else await acceptor.hostLeft();
    }
  } finally {
    acceptor.drop();
  }
}

/** A frame that every yamux client ignores: the echo of a ping it never sends (ours stay below it, others count up from 0). */
const KNOCK = encodeHeader(TYPE.ping, FLAG.ack, 0, 0xffff_ffff);

/** Far more than it takes Linux to hear of a host that is there. */
const ABSENCE_MS = 1000;

async function settledWithin(work: Promise<void>, timeoutMs: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), timeoutMs);
  });
  return await Promise.race([work.then(() => true), late]).finally(() => clearTimeout(timer));
}

class Acceptor {
  readonly #port: BytePort;
  readonly #onSession: (session: YamuxSession, announced: boolean) => void;
  readonly #options: AcceptOptions;
  readonly #scanner: AnnouncementScanner;
  #session: YamuxSession | undefined;
  #announced = false;
  /** Nothing has come since the host connected, as far as we know. */
  #fresh = true;
  /** The first bytes of a connection while they may still become an announcement: an unannounced session does not begin like one. */
  #held = Buffer.alloc(0);
  #written: Promise<void> = Promise.resolve();

  constructor(port: BytePort, onSession: (session: YamuxSession, announced: boolean) => void, options: AcceptOptions) {
    this.#port = port;
    this.#onSession = onSession;
    this.#options = options;
    this.#scanner = new AnnouncementScanner({
      pass: (bytes) => this.#pass(bytes),
      marked: () => this.#marked(),
      announced: (nonce) => this.#begin(answer(nonce)),
    });
  }

  get owed(): number {
    return this.#session?.owed ?? 0;
  }

  take(chunk: Buffer): void {
    this.#scanner.push(chunk);
  }

  /**
   * Waits until a host is there: a write to the port waits for exactly that, so nothing has to poll.
   *
   * A host that seems to be back at once may never have left. Linux learns that a host went, and that one came, later than it gets the new
   * one's bytes, so a read of 0 bytes can come behind an announcement. Such a session goes on; a new host of ours announces itself anyway.
   */
  async hostLeft(): Promise<void> {
    const back = this.#write([KNOCK]);
    const mayGoOn = this.#announced && this.#session && !this.#session.ended && !this.#session.goneAway;
    if (!mayGoOn || !(await settledWithin(back, ABSENCE_MS))) {
      this.drop();
      this.#scanner.reset();
      this.#fresh = true;
      this.#held = Buffer.alloc(0);
    }
    await back;
  }

  /** Goes on with a session whose announcement somebody else has answered. */
  adopt(): void {
    this.drop();
    this.#scanner.reset();
    this.#held = Buffer.alloc(0);
    this.#begin(undefined, true);
  }

  drop(): void {
    const session = this.#session;
    this.#session = undefined;
    session?.end();
  }

  #marked(): boolean {
    if (this.#session && !this.#session.ended && !this.#announced && this.#session.carriedData) return false;
    this.drop();
    this.#fresh = false;
    this.#held = Buffer.alloc(0);
    return true;
  }

  #pass(bytes: Buffer): void {
    if (this.#fresh) {
      this.#held = Buffer.concat([this.#held, bytes]);
      if (AnnouncementScanner.mayBegin(this.#held)) return;
      this.#begin(undefined);
      this.#session?.receive(this.#held);
      this.#held = Buffer.alloc(0);
      return;
    }
    this.#session?.receive(bytes);
  }

  #begin(first: Buffer | undefined, announced = first !== undefined): void {
    this.#fresh = false;
    this.#announced = announced;
    const output = {
      write: (frames: readonly Buffer[]) => (session === this.#session ? this.#write(frames) : Promise.resolve()),
      close: () => {},
    };
    const session = new YamuxSession({ role: "server", output, ...this.#options });
    this.#session = session;
    if (first) void this.#write([first]).catch((error) => session.end(error));
    this.#onSession(session, this.#announced);
  }

  /** One write at a time, whichever session it is from: the answer must not come between the halves of an old frame. */
  #write(frames: readonly Buffer[]): Promise<void> {
    const written = this.#written.catch(() => {}).then(() => this.#port.write(frames));
    this.#written = written;
    return written;
  }
}
