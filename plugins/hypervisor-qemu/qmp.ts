import { connect, type Socket } from "node:net";
import { type TapvisorError, toError, withDeadline } from "tapvisor/plugin";
import { LineSplitter } from "./line-splitter.ts";
import { disconnected, isObject, type Message, objectOf, parse, refused, versionOf } from "./qmp-messages.ts";
import type { QemuVersion } from "./version.ts";

export interface QmpEvent {
  readonly event: string;
  readonly data: Readonly<Record<string, unknown>>;
}

export interface QmpOptions {
  readonly signal?: AbortSignal | undefined;
  /** 10 s by default. */
  readonly timeoutMs?: number;
}

interface Pending<T> {
  readonly command: string;
  readonly resolve: (value: T) => void;
  readonly reject: (error: Error) => void;
}

interface EventWaiter extends Pending<QmpEvent> {
  readonly wanted: (event: QmpEvent) => boolean;
}

const TIMEOUT_MS = 10_000;

/**
 * One connection to QEMU's control socket. QEMU serves one at a time: a second one is connected but hears nothing until the first leaves.
 *
 * Values stay as JSON gave them: addresses above 2^53 lose digits in JavaScript, so nothing here may compute with one.
 */
export class Qmp {
  /** Settles with the reason when the connection has ended, whoever ended it. Never rejects. */
  readonly closed: Promise<Error>;
  readonly #socket: Socket;
  readonly #lines = new LineSplitter();
  readonly #pending = new Map<number, Pending<unknown>>();
  readonly #waiters = new Set<EventWaiter>();
  readonly #greeted: Promise<QemuVersion>;
  readonly #ready: Promise<unknown>;
  #onGreeting: Pick<Pending<QemuVersion>, "resolve" | "reject">;
  #nextId = 1;
  #lost: TapvisorError<"VM_COMMAND_FAILED"> | undefined;
  #reason: Error | undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.#onGreeting = { resolve: () => {}, reject: () => {} };
    this.#greeted = new Promise((resolve, reject) => {
      this.#onGreeting = { resolve, reject };
    });
    this.#ready = this.#greeted.then(() => this.#send("qmp_capabilities", {}, (id) => id));
    // The connection may end before anyone asks: these two are then rejected with nobody listening.
    this.#greeted.catch(() => {});
    this.#ready.catch(() => {});
    this.closed = new Promise((resolve) => {
      socket.once("close", () => resolve(this.#endAll()));
    });
    socket.on("data", (chunk) => this.#read(chunk));
    socket.on("error", (error) => {
      this.#reason ??= error;
    });
    socket.on("end", () => socket.destroy());
  }

  /** Connects. The error is the socket's own (`ENOENT`, `ECONNREFUSED`), so that a caller can try again while QEMU starts. */
  static connect(path: string): Promise<Qmp> {
    return new Promise((resolve, reject) => {
      const socket = connect(path);
      socket.once("error", reject);
      socket.once("connect", () => {
        socket.off("error", reject);
        resolve(new Qmp(socket));
      });
    });
  }

  /**
   * Resolves with QEMU's version when it has greeted and takes commands.
   *
   * @throws TIMEOUT when another client holds the connection, VM_COMMAND_FAILED when it ends.
   */
  async handshake({ signal, timeoutMs = TIMEOUT_MS }: QmpOptions = {}): Promise<QemuVersion> {
    return withDeadline({ what: "the greeting of QEMU's control socket", timeoutMs, signal }, async () => {
      await this.#ready;
      return this.#greeted;
    });
  }

  /**
   * Runs a command and resolves with what it returns.
   *
   * @throws VM_COMMAND_FAILED with QEMU's error class in `data.class` (`Disconnected` when the connection ends first), TIMEOUT, ABORTED.
   */
  async execute(command: string, args: Readonly<Record<string, unknown>> = {}, options: QmpOptions = {}): Promise<unknown> {
    const { signal, timeoutMs = TIMEOUT_MS } = options;
    let sent: number | undefined;
    try {
      return await withDeadline({ what: `QEMU's answer to "${command}"`, timeoutMs, signal }, async (inner) => {
        await this.#ready;
        if (inner.aborted) return undefined; // the wait is over: a command sent now would have nobody to undo it
        return this.#send(command, args, (id) => {
          sent = id;
        });
      });
    } finally {
      if (sent !== undefined) this.#pending.delete(sent);
    }
  }

  /** Resolves with the first event that `wanted` accepts. Call it before the command that causes the event. 10 s by default. */
  async waitForEvent(what: string, wanted: (event: QmpEvent) => boolean, options: QmpOptions = {}): Promise<QmpEvent> {
    const { signal, timeoutMs = TIMEOUT_MS } = options;
    let waiter: EventWaiter | undefined;
    try {
      return await withDeadline({ what, timeoutMs, signal }, () => {
        return new Promise<QmpEvent>((resolve, reject) => {
          if (this.#lost) return reject(this.#lost);
          waiter = { command: what, wanted, resolve, reject };
          this.#waiters.add(waiter);
        });
      });
    } finally {
      if (waiter) this.#waiters.delete(waiter);
    }
  }

  /** Closes the connection; commands that still wait are rejected. QEMU goes on. */
  async close(): Promise<void> {
    this.#socket.destroy();
    await this.closed;
  }

  #send(command: string, args: Readonly<Record<string, unknown>>, onId: (id: number) => void): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#lost) return reject(disconnected(command, this.#reason));
      const id = this.#nextId++;
      onId(id);
      this.#pending.set(id, { command, resolve, reject });
      this.#socket.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`);
    });
  }

  #read(chunk: Buffer): void {
    try {
      for (const line of this.#lines.push(chunk)) this.#take(parse(line));
    } catch (error) {
      this.#reason ??= toError(error);
      this.#socket.destroy();
    }
  }

  #take(message: Message): void {
    const { QMP: greeting, event, id } = message;
    if (isObject(greeting)) this.#onGreeting.resolve(versionOf(greeting));
    else if (typeof event === "string") this.#emit({ event, data: objectOf(message.data) });
    else if (typeof id === "number") this.#answer(id, message);
  }

  #answer(id: number, message: Message): void {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    if (isObject(message.error)) pending?.reject(refused(pending.command, message.error));
    else pending?.resolve(message.return);
  }

  #emit(event: QmpEvent): void {
    for (const waiter of this.#waiters) {
      if (!waiter.wanted(event)) continue;
      this.#waiters.delete(waiter);
      waiter.resolve(event);
    }
  }

  #endAll(): Error {
    this.#lost = disconnected("the connection", this.#reason);
    this.#onGreeting.reject(this.#lost);
    for (const waiting of [...this.#pending.values(), ...this.#waiters]) waiting.reject(disconnected(waiting.command, this.#reason));
    this.#pending.clear();
    this.#waiters.clear();
    return this.#lost;
  }
}
