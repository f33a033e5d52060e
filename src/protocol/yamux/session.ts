import type { Duplex } from "node:stream";
import type { TapvisorError } from "../../base/errors.ts";
import { encodeHeader, FLAG, FrameDecoder, type FrameSink, GO_AWAY, TYPE, WINDOW_BYTES } from "./codec.ts";
import { lost, protocolError, refusedByPeer, tooManyStreams } from "./errors.ts";
import { type PingOptions, Pings } from "./pings.ts";
import { Sender, type SessionOutput } from "./sender.ts";
import { type StreamLink, YamuxStream } from "./stream.ts";

const LAST_ID = 0xffff_ffff;

export interface SessionOptions {
  /** The client opens odd streams, the server even ones. */
  readonly role: "client" | "server";
  readonly output: SessionOutput;
  /** Streams open at once, of both sides together; 256 by default. With the window it bounds the session's memory. */
  readonly maxStreams?: number;
  /** The id of the first stream opened here, odd for a client; 1 or 2 by default. */
  readonly firstStream?: number;
}

/**
 * One side of a yamux connection (version 0, 256 KiB windows, no keep-alive).
 *
 * It owns no input: whoever reads the connection calls `receive` for each chunk, and `end` when there are no more. Reading need never
 * pause, since windows bound what can come in, and a peer that passes one ends the session with GUEST_PROTOCOL.
 */
export class YamuxSession {
  /** Gets each stream that the other side opens; while it is not set they are refused. */
  onStream: ((stream: Duplex) => void) | undefined;
  /** Settles when the session is over, with the reason unless this side closed it: never rejects. */
  readonly closed: Promise<Error | undefined>;

  readonly #client: boolean;
  readonly #maxStreams: number;
  readonly #sender: Sender;
  readonly #decoder: FrameDecoder;
  readonly #link: StreamLink;
  readonly #streams = new Map<number, YamuxStream>();
  readonly #pings = new Pings();
  #settle: (reason: Error | undefined) => void = () => {};
  #finished: Promise<void> | undefined;
  #nextId: number;
  #refusing = false;
  #goneAway = false;
  #carriedData = false;
  /** Of the data frame being read; no stream means that its payload is dropped. */
  #dataStream: YamuxStream | undefined;
  #dataFlags = 0;

  constructor(options: SessionOptions) {
    this.#client = options.role === "client";
    this.#maxStreams = options.maxStreams ?? 256;
    this.#nextId = options.firstStream ?? (this.#client ? 1 : 2);
    this.#sender = new Sender(options.output, (error) => this.#end(lost(error), undefined));
    this.#link = this.#streamLink();
    this.#decoder = new FrameDecoder(this.#sink());
    this.closed = new Promise((resolve) => {
      this.#settle = resolve;
    });
  }

  get ended(): boolean {
    return this.#finished !== undefined;
  }

  /** Whether the other side has ever opened a stream here, so that its payloads may hold anything. */
  get carriedData(): boolean {
    return this.#carriedData;
  }

  /** Whether the other side has said go-away: it takes no more streams. */
  get goneAway(): boolean {
    return this.#goneAway;
  }

  /** How many bytes the frame lacks of which a part has come. */
  get owed(): number {
    return this.ended ? 0 : this.#decoder.owed;
  }

  /** Takes bytes that came from the other side. The buffer must not be written to again. */
  receive(chunk: Buffer): void {
    this.#decoder.push(chunk);
  }

  /** Says that no more bytes will come. The session ends, and so does every stream that both sides had not ended. */
  end(cause?: Error): void {
    void this.#end(lost(cause), undefined);
  }

  /**
   * Opens a stream; it can be written to at once. `windowBytes` (256 KiB by default, not less) is what the other side may send ahead of the reader,
   * and so what may be buffered here.
   * @throws AGENT_LOST when the session is over or the other side takes no more streams, HOST_LIMIT when too many are open.
   */
  openStream(windowBytes = WINDOW_BYTES): Duplex {
    if (this.ended) throw lost();
    if (this.#goneAway) throw refusedByPeer();
    if (this.#streams.size >= this.#maxStreams || this.#nextId > LAST_ID) throw tooManyStreams(this.#streams.size, this.#maxStreams);
    const stream = this.#addStream(this.#nextId, FLAG.syn, windowBytes);
    this.#nextId += 2;
    return stream;
  }

  /**
   * Asks the other side for an echo and resolves with the round trip's time, ms.
   * @throws TIMEOUT after `timeoutMs` (5 s by default), ABORTED, AGENT_LOST when the session ends first.
   */
  async ping(options: PingOptions = {}): Promise<number> {
    if (this.ended) throw lost();
    const ended = () => this.closed.then((reason) => Promise.reject(reason ?? lost()));
    return this.#pings.send((frame) => this.#sender.control(frame), ended, options);
  }

  /** Tells the other side that no more of its streams are taken; those that are open go on. */
  goAway(): void {
    this.#refusing = true;
    this.#sender.control(encodeHeader(TYPE.goAway, 0, 0, GO_AWAY.normal));
  }

  /** Ends the session: says go-away (1 s at most), ends all streams, closes the connection. Never rejects; again is nothing. */
  close(): Promise<void> {
    return this.#end(undefined, GO_AWAY.normal);
  }

  #end(reason: Error | undefined, goAway: number | undefined): Promise<void> {
    if (this.#finished) return this.#finished;
    this.#decoder.stop();
    this.#finished = this.#sender.finish(goAway === undefined ? undefined : encodeHeader(TYPE.goAway, 0, 0, goAway));
    for (const stream of [...this.#streams.values()]) stream.sessionEnded(reason ?? lost());
    this.#streams.clear();
    this.#settle(reason);
    return this.#finished;
  }

  #violated(error: TapvisorError): false {
    void this.#end(error, GO_AWAY.protocol);
    return false;
  }

  #sink(): FrameSink {
    return {
      header: (type, flags, id, length) => {
        if (type === TYPE.ping) return this.#onPing(flags, length);
        if (type === TYPE.goAway) return this.#onGoAway(length);
        return this.#onStreamFrame(type, flags, id, length);
      },
      payload: (bytes) => {
        const stream = this.#dataStream;
        if (stream && !stream.destroyed) stream.receive(bytes);
        return !this.ended;
      },
      payloadEnd: () => this.#onEndFlags(this.#dataStream, this.#dataFlags),
      violation: (error) => this.#violated(error),
    };
  }

  #onPing(flags: number, value: number): boolean {
    if (flags & FLAG.syn) return this.#answer(TYPE.ping, FLAG.ack, 0, value);
    this.#pings.echoed(value);
    return true;
  }

  #onGoAway(code: number): boolean {
    this.#goneAway = true;
    if (code === GO_AWAY.normal) return true;
    return this.#violated(protocolError(code === GO_AWAY.protocol ? "go-away: protocol error" : `go-away: error ${code}`));
  }

  #onStreamFrame(type: number, flags: number, id: number, length: number): boolean {
    if (flags & FLAG.syn && !this.#accept(id)) return false;
    const stream = this.#streams.get(id); // none: it was refused or reset, and the other side did not know yet
    if (type === TYPE.data) {
      if (stream && !stream.admit(length)) return this.#violated(protocolError(`more than stream ${id} may carry`));
      this.#dataStream = stream;
      this.#dataFlags = flags;
      return true;
    }
    if (stream && !stream.grant(length)) return this.#violated(protocolError(`a window for stream ${id} above 32 bits`));
    return this.#onEndFlags(stream, flags);
  }

  #onEndFlags(stream: YamuxStream | undefined, flags: number): boolean {
    if (!stream || stream.destroyed) return !this.ended;
    if (flags & FLAG.rst) stream.remoteReset();
    else if (flags & FLAG.fin && !stream.remoteEnd()) return this.#violated(protocolError(`the end of stream ${stream.id} twice`));
    return !this.ended;
  }

  #accept(id: number): boolean {
    const peersOwn = id !== 0 && (id % 2 === 1) !== this.#client;
    if (!peersOwn || this.#streams.has(id)) return this.#violated(protocolError(`a new stream with the id ${id}, which it may not use`));
    this.#carriedData = true;
    if (this.#refusing || !this.onStream || this.#streams.size >= this.#maxStreams) return this.#answer(TYPE.window, FLAG.rst, id, 0);
    this.onStream(this.#addStream(id, FLAG.ack));
    return !this.ended;
  }

  #addStream(id: number, flag: number, windowBytes?: number): YamuxStream {
    const stream = new YamuxStream(this.#link, id, flag, windowBytes);
    this.#streams.set(id, stream);
    this.#sender.ready(stream);
    return stream;
  }

  #streamLink(): StreamLink {
    return {
      ready: (stream) => this.#sender.ready(stream),
      gone: (stream, reset) => {
        if (this.#streams.get(stream.id) === stream) this.#streams.delete(stream.id);
        if (reset) this.#sender.control(encodeHeader(TYPE.window, FLAG.rst, stream.id, 0));
      },
      guarded: this.#client,
    };
  }

  #answer(type: number, flags: number, id: number, length: number): boolean {
    if (this.#sender.control(encodeHeader(type, flags, id, length))) return !this.ended;
    return this.#violated(protocolError("requests without reading the answers"));
  }
}
