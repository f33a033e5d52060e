import { type ChildProcess, spawn } from "node:child_process";
import { mkdir } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import type { Writable } from "node:stream";
import type { GuestPaths } from "../guest-paths.ts";
import type { ProcessPipes } from "../process/pipes.ts";
import { RELAY_SCRIPT } from "./relay-script.ts";

/** Rows and columns, 1 to 65535 each. */
export interface TerminalSize {
  readonly rows: number;
  readonly columns: number;
}

let made = 0;

/** A process's terminal: the runtime makes it and sends it here, and a program of its own moves the bytes between it and the process's pipes. */
export class Terminal {
  /** Where the runtime sends the terminal's master: its `--console-socket`. */
  readonly socketPath: string;
  /** Resolves when the terminal has come; rejects when nothing can be done with it. */
  readonly ready: Promise<void>;
  readonly #server: Server;
  #relay: ChildProcess | undefined;
  #over = false;

  private constructor(socketPath: string, server: Server, program: string, pipes: ProcessPipes) {
    this.socketPath = socketPath;
    this.#server = server;
    this.ready = new Promise((resolve, reject) => {
      server.once("connection", (connection) => {
        server.close();
        this.#start(program, pipes, connection).then(resolve, reject);
      });
    });
    this.ready.catch(() => {}); // whoever starts the process gets it
  }

  /** Waits for a terminal. The pipes' far ends are then the relay's: it is what reads the process's input, and writes its output. */
  static async open({ own, perl }: Pick<GuestPaths, "own" | "perl">, pipes: ProcessPipes): Promise<Terminal> {
    const directory = join(own, "terminals");
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const path = join(directory, String(made++));
    // Not a byte is read here: the descriptor that comes with the first one would be lost.
    const server = createServer({ pauseOnConnect: true });
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(path, resolve);
    });
    return new Terminal(path, server, perl, pipes);
  }

  /** Sets the size; it is set before what is typed from here on arrives. After the process's end nothing. */
  resize({ rows, columns }: TerminalSize): void {
    const size = Buffer.alloc(4);
    size.writeUInt16LE(rows);
    size.writeUInt16LE(columns, 2);
    if (!this.#over) this.#sizes?.write(size);
  }

  /** The process has ended: what the terminal still holds comes through, and then the end of the output. Again is nothing. */
  end(): void {
    this.#over = true;
    this.#server.close();
    this.#sizes?.end();
  }

  get #sizes(): Writable | undefined {
    return this.#relay?.stdio[4] as Writable | undefined;
  }

  async #start(program: string, pipes: ProcessPipes, connection: Socket): Promise<void> {
    const [typed, shown] = pipes.childEnds;
    try {
      const relay = spawn(program, ["-e", RELAY_SCRIPT], { stdio: [typed, shown, "ignore", connection, "pipe"], env: {} });
      this.#relay = relay;
      this.#sizes?.on("error", () => {}); // the relay has ended
      if (this.#over) this.end();
      await new Promise<void>((resolve, reject) => {
        relay.once("spawn", resolve);
        relay.once("error", reject);
      });
    } finally {
      connection.destroy();
      pipes.closeChildEnds();
    }
  }
}
