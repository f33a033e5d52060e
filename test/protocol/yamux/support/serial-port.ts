import { Duplex } from "node:stream";
import type { BytePort } from "tapvisor/protocol";

export interface HostOptions {
  /** The host goes when so many of its bytes have reached the guest; the rest of them is lost. */
  readonly toGuest?: number;
  /** The host goes when so many bytes have reached it; the rest of the guest's write waits for the next host. */
  readonly toHost?: number;
  /** The guest's reader sees that the host went; otherwise the next one comes too soon for that. True by default. */
  readonly noticed?: boolean;
}

/**
 * A virtio-serial port as Linux and QEMU make it: one host at a time, reads of 0 bytes while there is none, and a write of the guest that
 * waits while there is none and then reaches the next one.
 */
export function serialPort() {
  let host: HostEnd | undefined;
  /** An empty one stands where the reader sees that no host is there: behind the old host's bytes, before the next one's. */
  let arrived: Buffer[] = [Buffer.alloc(0)];
  let open = true;
  let writing = false;
  let wake: () => void = () => {};
  const sent = { toGuest: 0, toHost: 0 };
  const changed = () => new Promise<void>((resolve) => chain(resolve));
  const chain = (resolve: () => void) => {
    const before = wake;
    wake = () => {
      before();
      resolve();
    };
  };
  const change = () => {
    const before = wake;
    wake = () => {};
    before();
  };
  const port: BytePort = {
    async *read() {
      while (open) {
        const chunk = arrived.shift();
        if (chunk) yield chunk;
        else await changed();
      }
    },
    async write(frames) {
      if (writing) throw new Error("two writes at once");
      writing = true;
      for (let left = Buffer.concat(frames); left.length > 0; ) {
        while (open && !host) await changed();
        if (!open) throw new Error("the port is closed");
        left = left.subarray(host?.deliver(left) ?? 0);
        await new Promise((resolve) => setImmediate(resolve));
      }
      writing = false;
    },
  };
  return {
    port,
    sent,
    connect(options: HostOptions = {}): Duplex {
      const end = new HostEnd(options, {
        arrive: (bytes) => {
          sent.toGuest += bytes.length;
          arrived.push(Buffer.from(bytes));
          change();
        },
        delivered: (count) => {
          sent.toHost += count;
        },
        gone: () => {
          if (host !== end) return;
          host = undefined;
          if (options.noticed ?? true) arrived.push(Buffer.alloc(0));
          change();
        },
      });
      host?.destroy();
      host = end;
      change();
      return end;
    },
    /** The reader sees no host for a moment although one is there: Linux hears of a host later than of its bytes. */
    blink() {
      arrived.push(Buffer.alloc(0));
      change();
    },
    close() {
      open = false;
      arrived = [];
      host?.destroy();
      change();
    },
  };
}

interface HostLink {
  arrive(bytes: Buffer): void;
  delivered(count: number): void;
  gone(): void;
}

class HostEnd extends Duplex {
  #toGuest: number;
  #toHost: number;
  readonly #link: HostLink;

  constructor(options: HostOptions, link: HostLink) {
    super();
    this.#toGuest = options.toGuest ?? Number.POSITIVE_INFINITY;
    this.#toHost = options.toHost ?? Number.POSITIVE_INFINITY;
    this.#link = link;
    this.on("error", () => {});
  }

  deliver(bytes: Buffer): number {
    const count = Math.min(bytes.length, this.#toHost);
    this.#toHost -= count;
    if (count > 0) this.push(Buffer.from(bytes.subarray(0, count)));
    this.#link.delivered(count);
    if (this.#toHost === 0) this.destroy();
    return count;
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    const part = chunk.subarray(0, this.#toGuest);
    this.#toGuest -= part.length;
    if (part.length > 0) this.#link.arrive(part);
    if (this.#toGuest === 0) this.destroy();
    setImmediate(callback);
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#link.gone();
    callback(error);
  }
}
